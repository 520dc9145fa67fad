//! Listing a directory, page by page.
//!
//! Pages come in the order of the keys, but each page first with its directories (`name/`) and then with its files. A
//! directory is therefore held back for as long as the page may still bring a file of its name, which wins; and a name
//! that was a file on an earlier page is remembered as long as its directory may come.

use super::remote::{Remote, fingerprint};
use super::tree::{self, Found, RENAME_MARK, below, check, entry};
use crate::Entry;
use futures::StreamExt;
use futures::stream::BoxStream;
use goosefs_core::path::check_name;
use goosefs_core::{Code, Result};
use opendal::raw::oio;
use std::collections::VecDeque;
use std::sync::Arc;

/// Keys on a page at most: these services give no more.
const PAGE: usize = 1000;

/// The entries of the directory at `path`. Keys that cannot be names here are left out, with one warning a listing.
pub(super) async fn list(remote: Arc<Remote>, path: String) -> Result<BoxStream<'static, Result<Entry>>> {
    check(&path)?;
    let prefix = below(&path);
    let lister = remote.list(&prefix, false, Some(PAGE))?;
    let mut listing =
        Listing { remote, path, prefix, lister, order: Order::default(), left_out: 0, empty: true };
    // The first page is fetched before anything is given out: what is not there is an error of the call.
    let first = listing.next().await?;
    if listing.empty && !listing.path.is_empty() {
        let (code, why) = match tree::look(&listing.remote, &listing.path).await? {
            Found::File(_) => (Code::NotDirectory, "is no directory"),
            Found::Directory | Found::Nothing => (Code::NotFound, "does not exist"),
        };
        return Err(listing.remote.error(code, &listing.path, why));
    }
    let rest = futures::stream::try_unfold(listing, async |mut listing| {
        let entry = listing.next().await?;
        Ok(entry.map(|entry| (entry, listing)))
    });
    Ok(futures::stream::iter(first.map(Ok)).chain(rest).boxed())
}

struct Listing {
    remote: Arc<Remote>,
    path: String,
    prefix: String,
    lister: oio::Lister,
    order: Order,
    left_out: u64,
    /// Nothing came so far, not even the directory's own marker.
    empty: bool,
}

impl Listing {
    async fn next(&mut self) -> Result<Option<Entry>> {
        loop {
            if let Some(entry) = self.order.ready.pop_front() {
                return Ok(Some(entry));
            }
            let next = self.lister.next_dyn().await;
            let Some(next) = next.map_err(|error| self.remote.list_failed(&self.path, &error))? else {
                self.order.end();
                if self.order.ready.is_empty() {
                    self.tell();
                    return Ok(None);
                }
                continue;
            };
            self.empty = false;
            let (key, metadata) = next.into_parts();
            let Some(name) = key.strip_prefix(&self.prefix) else { continue };
            // Its own marker.
            if name.is_empty() || key == "/" {
                continue;
            }
            let (name, directory) = name.strip_suffix('/').map_or((name, false), |name| (name, true));
            if name == RENAME_MARK {
                continue;
            }
            if check_name(name).is_err() {
                self.left_out += 1;
                continue;
            }
            if directory {
                self.order.directory(name);
            } else {
                self.order.file(name, entry(name, Found::File(fingerprint(&metadata))));
            }
        }
    }

    fn tell(&mut self) {
        if std::mem::take(&mut self.left_out) > 0 {
            tracing::warn!(
                directory = %self.remote.shown(&self.path),
                "listing leaves out keys that cannot be names: empty, \".\", \"..\" or too long"
            );
        }
    }
}

/// Gives each name once.
#[derive(Default)]
struct Order {
    /// Directories that a file of the same name may still take the place of.
    held: VecDeque<String>,
    /// Files whose directories may still come: each begins with the one before it.
    files: Vec<String>,
    ready: VecDeque<Entry>,
}

impl Order {
    fn directory(&mut self, name: &str) {
        if self.files.iter().any(|file| file == name) {
            return;
        }
        self.held.push_back(name.to_owned());
        // Whose page has passed nobody takes the place of.
        while self.held.len() > PAGE {
            self.release();
        }
    }

    fn file(&mut self, name: &str, file: Entry) {
        self.held.retain(|held| held != name);
        while self.held.front().is_some_and(|held| comes_before(held, name)) {
            self.release();
        }
        // What sorts between `a` and `a/` begins with `a`.
        self.files.retain(|file| name.starts_with(file.as_str()));
        self.files.push(name.to_owned());
        self.ready.push_back(file);
    }

    fn end(&mut self) {
        while !self.held.is_empty() {
            self.release();
        }
    }

    fn release(&mut self) {
        let name = self.held.pop_front();
        self.ready.extend(name.map(|name| entry(&name, Found::Directory)));
    }
}

/// Whether every later file sorts behind a file called as the directory `held` is: `file` does already.
fn comes_before(held: &str, file: &str) -> bool {
    held < file
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(keys: &[&str]) -> Vec<(String, bool)> {
        let mut order = Order::default();
        for key in keys {
            match key.strip_suffix('/') {
                Some(name) => order.directory(name),
                None => order.file(key, entry(key, Found::File(Default::default()))),
            }
        }
        order.end();
        let is_directory = |entry: &Entry| entry.kind == goosefs_core::proto::internal::NodeKind::Directory;
        let mut all: Vec<_> =
            order.ready.iter().map(|entry| (entry.name.clone(), is_directory(entry))).collect();
        all.sort();
        all
    }

    #[test]
    fn a_name_that_is_file_and_directory_is_given_once_as_the_file() {
        let file = |name: &str| (name.to_owned(), false);
        let directory = |name: &str| (name.to_owned(), true);
        // On one page, where directories come first.
        assert_eq!(given(&["a/", "b/", "a", "c"]), [file("a"), directory("b"), file("c")]);
        // On two pages, with what sorts between them.
        assert_eq!(
            given(&["a", "a!x", "a-b", "a/", "b/"]),
            [file("a"), file("a!x"), file("a-b"), directory("b")]
        );
        // The directory's page ends before the file's name comes.
        assert_eq!(given(&["b/", "a", "c/", "d"]), [file("a"), directory("b"), directory("c"), file("d")]);
    }

    #[test]
    fn what_is_held_and_remembered_has_a_bound() {
        let mut order = Order::default();
        for number in 0..100_000 {
            order.directory(&format!("{number:06}"));
            assert!(order.held.len() <= PAGE);
        }
        for number in 0..10_000 {
            order.file(&format!("{number:06}"), entry("x", Found::Directory));
            assert!(order.files.len() <= 2, "{:?}", order.files);
        }
    }
}
