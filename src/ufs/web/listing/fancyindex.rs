//! Pages of nginx's `fancyindex` module, as large mirrors use it: a table with the id `list`, cells of the classes
//! `link`, `size` and `date`. The row "Parent directory/" may be missing, and the time's format is the server's to
//! choose.

use super::{Listing, Row, exact_size, selector, text_of, time_ms};
use scraper::{ElementRef, Html, Selector};

/// Formats seen: the default, and those of large mirrors.
const TIMES: [&str; 5] =
    ["%Y-%b-%d %H:%M", "%d %b %Y %H:%M:%S +0000", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%d-%b-%Y %H:%M"];

pub(super) struct Fancyindex;

impl Listing for Fancyindex {
    fn server(&self) -> &'static str {
        "nginx (fancyindex)"
    }

    fn rows(&self, page: &Html) -> Option<Vec<Row>> {
        let table = page.select(&selector("table#list")?).next()?;
        let cells = Cells {
            link: selector("td.link a[href]")?,
            size: selector("td.size")?,
            date: selector("td.date")?,
        };
        let rows: Vec<Row> = table.select(&selector("tr")?).filter_map(|row| cells.row(row)).collect();
        // A page without any row is an empty directory only if it has the head that this module makes.
        let head = selector("thead a[href^='?C=']")?;
        let known = !rows.is_empty() || table.select(&head).next().is_some();
        known.then_some(rows)
    }
}

struct Cells {
    link: Selector,
    size: Selector,
    date: Selector,
}

impl Cells {
    fn row(&self, row: ElementRef<'_>) -> Option<Row> {
        let href = row.select(&self.link).next()?.attr("href")?.to_owned();
        let text = |cell: &Selector| row.select(cell).next().map(text_of).unwrap_or_default();
        let size = text(&self.size);
        // "3 B" counts bytes as well as "3" does.
        let size = exact_size(size.strip_suffix(" B").unwrap_or(&size));
        Some(Row { href, size, modified_ms: time_ms(&text(&self.date), &TIMES) })
    }
}
