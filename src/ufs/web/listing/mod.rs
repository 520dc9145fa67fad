//! Directory pages of web servers: from HTML to names.
//!
//! One file per server behind the trait [`Listing`]; a further server is one more file and one more line in
//! [`SERVERS`]. Parsers only find the rows of the page; what a link may mean is decided here, for all of them alike.

mod fancyindex;
mod nginx;
mod python;

use super::address::{As, url_of};
use goosefs_core::path::check_name;
use goosefs_core::{Code, Error, Result};
use percent_encoding::percent_decode_str;
use scraper::{ElementRef, Html, Selector};
use std::collections::HashSet;
use url::Url;

/// Every kind of page that is understood, the stricter first.
const SERVERS: [&dyn Listing; 3] = [&fancyindex::Fancyindex, &nginx::Autoindex, &python::HttpServer];

/// A parser for the directory pages of one server.
trait Listing: Sync {
    /// The server's name, for messages.
    fn server(&self) -> &'static str;

    /// The rows of `page`, in its order; `None` when the page is not of this server.
    fn rows(&self, page: &Html) -> Option<Vec<Row>>;
}

/// A row of a directory page.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Row {
    /// The link as written, entities resolved.
    href: String,
    /// Size in bytes, when the page gives it to the byte.
    size: Option<u64>,
    /// Time of modification in milliseconds, read as UTC and cut to minutes by most servers.
    modified_ms: Option<u64>,
}

/// A name that a directory page lists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Listed {
    /// Decoded, allowed as the name of an entry.
    pub(super) name: String,
    /// Its link ends with a slash.
    pub(super) directory: bool,
    /// As [`Row::size`].
    pub(super) size: Option<u64>,
    /// As [`Row::modified_ms`]; good enough for directories, never for telling versions apart.
    pub(super) modified_ms: Option<u64>,
}

/// What a directory page lists, each name once, and how many names were left out because they are not UTF-8 or too
/// long. Works the processor: run it on a blocking thread.
///
/// Errors: `Ufs` when the page is of no server that is known, or links from its rows to what does not lie directly
/// in `directory`.
pub(super) fn parse(directory: &Url, html: &str) -> Result<(Vec<Listed>, usize)> {
    let page = Html::parse_document(html);
    let Some(rows) = SERVERS.iter().find_map(|server| server.rows(&page)) else {
        let known: Vec<&str> = SERVERS.iter().map(|server| server.server()).collect();
        let message = format!("{directory} answers with a page that is not a directory listing");
        return Err(Error::new(Code::Ufs, message)
            .hint(format!("understood are the listings of {}; is there an index page?", known.join(", "))));
    };
    let mut listed = Vec::with_capacity(rows.len());
    let mut seen = HashSet::with_capacity(rows.len());
    let mut left_out = 0;
    for row in rows {
        match meaning(directory, &row.href)? {
            Link::Entry { name, directory } => {
                if seen.insert(name.clone()) {
                    listed.push(Listed { name, directory, size: row.size, modified_ms: row.modified_ms });
                }
            }
            Link::Unusable => left_out += 1,
            Link::Elsewhere => {}
        }
    }
    Ok((listed, left_out))
}

/// What the link of a row means.
#[derive(PartialEq, Eq, Debug)]
enum Link {
    /// Something in the directory.
    Entry { name: String, directory: bool },
    /// Something in the directory whose name cannot be shown.
    Unusable,
    /// Not a link to an entry: sorting, the directory itself, one above it, another site.
    Elsewhere,
}

/// Errors: `Ufs` for a link into the same server that leads neither up nor directly into the directory: whoever makes
/// such a page wants something, or the page is not what we take it for.
fn meaning(directory: &Url, href: &str) -> Result<Link> {
    if href.is_empty() || href.contains(['?', '#']) {
        return Ok(Link::Elsewhere);
    }
    let refuse = || {
        let message = format!("the listing of {directory} names \"{}\"", shortened(href));
        Error::new(Code::Ufs, message).hint("allowed are names that lie directly in the listed directory")
    };
    let Ok(target) = directory.join(href) else { return Err(refuse()) };
    if target.origin() != directory.origin() {
        return Ok(Link::Elsewhere);
    }
    if directory.path().starts_with(target.path()) && target.path().ends_with('/') {
        return Ok(Link::Elsewhere);
    }
    let below = target.path().strip_prefix(directory.path()).ok_or_else(refuse)?;
    let (encoded, is_directory) = match below.strip_suffix('/') {
        Some(name) => (name, true),
        None => (below, false),
    };
    if encoded.contains('/') {
        return Err(refuse());
    }
    let Ok(name) = percent_decode_str(encoded).decode_utf8() else { return Ok(Link::Unusable) };
    match check_name(&name) {
        Ok(()) => Ok(Link::Entry { name: name.into_owned(), directory: is_directory }),
        Err(error) if error.code == Code::NameTooLong => Ok(Link::Unusable),
        Err(_) => Err(refuse()),
    }
}

/// Text from outside for a message: short, in one line.
fn shortened(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_debug).collect()
}

/// The URL of an entry of `directory`.
pub(super) fn url_of_entry(directory: &Url, name: &str) -> Result<Url> {
    url_of(directory, name, As::File)
}

/// A selector that is known to be right; a wrong one matches nothing and fails its parser's tests.
fn selector(text: &'static str) -> Option<Selector> {
    Selector::parse(text).ok()
}

/// The text of `element`, trimmed.
fn text_of(element: ElementRef<'_>) -> String {
    element.text().collect::<String>().trim().to_owned()
}

/// The text of the page's title.
fn title(page: &Html) -> String {
    let found = selector("title").and_then(|title| page.select(&title).next().map(text_of));
    found.unwrap_or_default()
}

/// Digits only are exact; a rounded size has a unit.
fn exact_size(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// A time of one of `formats`, as UTC.
fn time_ms(text: &str, formats: &[&str]) -> Option<u64> {
    let text = text.trim();
    let time = formats.iter().find_map(|format| jiff::civil::DateTime::strptime(format, text).ok())?;
    let zoned = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    u64::try_from(zoned.timestamp().as_millisecond()).ok()
}

#[cfg(test)]
mod tests;
