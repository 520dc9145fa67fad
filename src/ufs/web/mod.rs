//! A directory of a web server as under-storage: `http://` and `https://`, read only.
//!
//! Promises: names come from the links of the server's listing and never lead out of the mounted address; bytes are of
//! the version that was asked for, or an error; every request has a time-out and every retry a bound. Files: `options`
//! what a mount may set, `client` sends one request, `address` turns paths into URLs, `version` reads headers, `look`
//! stats, `listing/` reads directory pages (one file per server), `list` makes entries of them, `read` streams bytes.

mod address;
mod client;
mod list;
mod listing;
mod look;
mod options;
mod read;
mod turns;
mod version;

pub(crate) use options::{ALLOWED, Options, PREFIX};

use crate::{Attributes, Capabilities, Entry, Space, Ufs, Writer};
use async_trait::async_trait;
use bytes::Bytes;
use client::Client;
use futures::stream::BoxStream;
use goosefs_core::proto::internal::{Fingerprint, NodeKind};
use goosefs_core::{Code, Error, Result};
use std::ops::Range;
use std::sync::Arc;
use url::Url;

/// The connector for a directory of a web server.
#[derive(Debug)]
pub(crate) struct WebUfs {
    client: Arc<Client>,
}

impl WebUfs {
    /// Storage below `base`, which ends with a slash; nothing is sent yet.
    pub(crate) fn new(base: Url, options: &Options) -> Result<WebUfs> {
        Ok(WebUfs { client: Arc::new(Client::new(base, options)?) })
    }

    fn read_only<T>(&self) -> Result<T> {
        Err(Error::new(Code::ReadOnly, format!("{} is a web server, which is read only", self.client.base())))
    }
}

#[async_trait]
impl Ufs for WebUfs {
    fn capabilities(&self) -> Capabilities {
        Capabilities { writable: false, atomic_rename: false, directories: true, attributes: false }
    }

    async fn stat(&self, path: &str) -> Result<Entry> {
        let name = path.rsplit('/').next().unwrap_or_default();
        let (kind, fingerprint) = match look::look(&self.client, path).await? {
            look::Found::File(fingerprint) => (NodeKind::File, fingerprint),
            look::Found::Directory => (NodeKind::Directory, Fingerprint::default()),
        };
        Ok(entry(name.to_owned(), kind, fingerprint))
    }

    async fn list(&self, path: &str) -> Result<BoxStream<'static, Result<Entry>>> {
        list::list(Arc::clone(&self.client), path).await
    }

    async fn read(
        &self,
        path: &str,
        range: Range<u64>,
        expected: &Fingerprint,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        read::read(Arc::clone(&self.client), path, range, expected.clone()).await
    }

    async fn create(&self, _: &str, _: &Attributes) -> Result<Box<dyn Writer>> {
        self.read_only()
    }

    async fn make_directory(&self, _: &str, _: &Attributes) -> Result<()> {
        self.read_only()
    }

    async fn remove(&self, _: &str, _: NodeKind) -> Result<()> {
        self.read_only()
    }

    async fn remove_all(&self, _: &str) -> Result<()> {
        self.read_only()
    }

    async fn rename(&self, _: &str, _: &str, _: bool) -> Result<()> {
        self.read_only()
    }

    async fn set_attributes(&self, _: &str, _: &Attributes) -> Result<()> {
        self.read_only()
    }

    async fn space(&self) -> Result<Space> {
        Ok(Space::default())
    }
}

/// An entry as web servers have them: no mode, no owner.
fn entry(name: String, kind: NodeKind, fingerprint: Fingerprint) -> Entry {
    Entry { name, kind, fingerprint, mode: None, owner: String::new(), group: String::new() }
}

#[cfg(test)]
mod tests;
