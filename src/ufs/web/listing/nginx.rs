//! Pages of nginx's own `autoindex`: links in a `<pre>`, each followed by time and size as text; the first link is
//! always the parent. With `autoindex_exact_size off` sizes from 10,000 bytes on are rounded and have a unit.

use super::{Listing, Row, exact_size, selector, time_ms, title};
use scraper::{ElementRef, Html};

pub(super) struct Autoindex;

impl Listing for Autoindex {
    fn server(&self) -> &'static str {
        "nginx (autoindex)"
    }

    fn rows(&self, page: &Html) -> Option<Vec<Row>> {
        if !title(page).starts_with("Index of ") {
            return None;
        }
        let pre = page.select(&selector("pre")?).next()?;
        let links = selector("a[href]")?;
        let first = pre.select(&links).next()?;
        if first.attr("href") != Some("../") {
            return None;
        }
        Some(pre.select(&links).map(row).collect())
    }
}

fn row(link: ElementRef<'_>) -> Row {
    let href = link.attr("href").unwrap_or_default().to_owned();
    let after = link.next_sibling().and_then(|node| node.value().as_text().map(|text| text.to_string()));
    let after = after.unwrap_or_default();
    let Some((time, size)) = after.trim().rsplit_once(char::is_whitespace) else {
        return Row { href, ..Row::default() };
    };
    Row { href, size: exact_size(size), modified_ms: time_ms(time, &["%d-%b-%Y %H:%M"]) }
}
