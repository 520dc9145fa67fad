//! A cluster as the file system's [`Backend`], over the client library.

use crate::backend::{AttrChange, Backend, Event, Feed, LocalFile, Sink, Source};
use crate::handle::Lease;
use async_trait::async_trait;
use bytes::Bytes;
use goosefs_client::meta::{Changes, CreateOptions};
use goosefs_client::{Client, Listener, Reader, Writer};
use goosefs_core::id::{ContentId, InodeId};
use goosefs_core::metrics::Metrics;
use goosefs_core::proto::internal::{Attr, Caller, ClusterMark, ReadDirResponse, StatFsResponse};
use goosefs_core::{Error, Result};
use std::sync::Arc;

/// A cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cluster {
    client: Client,
}

impl Cluster {
    /// The cluster that `config` names, by a client that is fit for a mount: it keeps no leases of its own, because the
    /// mount does. Nothing waits for the cluster here.
    #[must_use]
    pub fn new(config: goosefs_client::Config, metrics: &Metrics) -> Cluster {
        let config = goosefs_client::Config { role: "fuse".to_owned(), kept_descriptors: 0, ..config };
        Cluster { client: Client::new(config, metrics) }
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }
}

#[async_trait]
impl Backend for Cluster {
    fn cluster(&self) -> Option<ClusterMark> {
        self.client.cluster()
    }

    async fn lookup(&self, caller: Caller, parent: InodeId, name: &str) -> Result<Attr> {
        self.client.inodes().lookup(parent, name, &caller).await
    }

    async fn attr(&self, node: u64) -> Result<Attr> {
        self.client.inodes().attr(node).await
    }

    async fn read_dir(&self, directory: InodeId, after: &str, limit: u32) -> Result<ReadDirResponse> {
        self.client.inodes().read_dir(directory, after, limit).await
    }

    async fn create(&self, caller: Caller, parent: InodeId, name: &str, mode: u32) -> Result<Attr> {
        let config = self.client.config();
        let options = CreateOptions { block_size: config.block_size, write_type: config.write_type };
        self.client.inodes().create(parent, name, mode, options, &caller).await
    }

    async fn make_dir(&self, caller: Caller, parent: InodeId, name: &str, mode: u32) -> Result<Attr> {
        self.client.inodes().make_dir(parent, name, mode, &caller).await
    }

    async fn symlink(&self, caller: Caller, parent: InodeId, name: &str, target: &str) -> Result<Attr> {
        self.client.inodes().symlink(parent, name, target, &caller).await
    }

    async fn remove(&self, caller: Caller, parent: InodeId, name: &str, directory: bool) -> Result<()> {
        match directory {
            true => self.client.inodes().remove_dir(parent, name, &caller).await,
            false => self.client.inodes().unlink(parent, name, &caller).await,
        }
    }

    async fn rename(
        &self,
        caller: Caller,
        from: (InodeId, &str),
        to: (InodeId, &str),
        no_replace: bool,
    ) -> Result<()> {
        self.client.inodes().rename(from, to, no_replace, &caller).await.map(drop)
    }

    async fn set_attr(&self, caller: Caller, node: u64, change: AttrChange) -> Result<Attr> {
        let AttrChange { mode, owner, group, mtime_ms, atime_ms } = change;
        let changes = Changes { mode, owner, group, mtime_ms, atime_ms };
        self.client.inodes().set_attr(node, &changes, &caller).await
    }

    async fn truncate(&self, caller: Caller, content: ContentId) -> Result<Attr> {
        self.client.inodes().truncate(content, &caller).await
    }

    async fn finish(&self, caller: Caller, content: ContentId, length: u64) -> Result<Attr> {
        self.client.inodes().complete(content, length, &caller).await
    }

    async fn stat_fs(&self) -> Result<StatFsResponse> {
        self.client.inodes().stat_fs().await
    }

    fn changes(&self) -> Box<dyn Feed> {
        Box::new(self.client.changes())
    }

    async fn local_file(&self, attr: &Attr) -> Result<Option<LocalFile>> {
        let Some(local) = self.client.local_file(attr).await else { return Ok(None) };
        let Some(file) = local.file() else { return Ok(None) };
        // The kernel holds the file itself after registration; only the lease stays.
        local.close_descriptor();
        Ok(Some(LocalFile { file, length: local.length(), lease: Box::new(local) }))
    }

    fn source(&self, attr: &Attr) -> Arc<dyn Source> {
        match self.client.reader(attr) {
            Ok(reader) => Arc::new(reader),
            Err(error) => Arc::new(Refused(error)),
        }
    }

    async fn sink(&self, caller: Caller, attr: &Attr) -> Result<Box<dyn Sink>> {
        Ok(Box::new(self.client.writer(attr, &caller)?))
    }
}

impl Lease for goosefs_client::LocalFile {
    fn is_alive(&self) -> bool {
        self.is_leased()
    }
}

#[async_trait]
impl Feed for Listener {
    async fn next(&mut self) -> Option<Event> {
        Listener::next(self).await
    }
}

#[async_trait]
impl Source for Reader {
    async fn read(&self, offset: u64, length: u32) -> Result<Bytes> {
        self.read_at(offset, u64::from(length)).await
    }
}

/// What cannot be read, saying why at each read.
struct Refused(Error);

#[async_trait]
impl Source for Refused {
    async fn read(&self, _: u64, _: u32) -> Result<Bytes> {
        Err(self.0.clone())
    }
}

#[async_trait]
impl Sink for Writer {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        let position = self.position();
        Writer::write(self, position, data).await
    }

    async fn commit(&mut self) -> Result<()> {
        self.flush().await
    }

    async fn persist(&mut self) -> Result<()> {
        self.sync().await
    }

    async fn complete(&mut self) -> Result<Attr> {
        self.close().await
    }
}
