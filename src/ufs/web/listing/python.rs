//! Pages of Python's `http.server`: a list of links and nothing else.

use super::{Listing, Row, selector, title};
use scraper::Html;

pub(super) struct HttpServer;

impl Listing for HttpServer {
    fn server(&self) -> &'static str {
        "Python http.server"
    }

    fn rows(&self, page: &Html) -> Option<Vec<Row>> {
        if !title(page).starts_with("Directory listing for ") {
            return None;
        }
        let list = page.select(&selector("body > ul")?).next()?;
        let links = selector("li > a[href]")?;
        let hrefs = list.select(&links).filter_map(|link| link.attr("href"));
        Some(hrefs.map(|href| Row { href: href.to_owned(), ..Row::default() }).collect())
    }
}
