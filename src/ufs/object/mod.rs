//! A bucket of an object storage as under-storage: `s3://bucket/prefix` and `cosn://bucket-appid/prefix`, through OpenDAL.
//!
//! Promises: an object appears whole at `finish`, or not at all; bytes are of the version that was asked for (its entity
//! tag goes with each request and is compared with each answer), or an error; every request has a time-out and every
//! retry a bound; nobody is shown a credential. Directories are prefixes and marker objects (`name/`): one is made for
//! each directory that would else vanish with its last entry. A rename is copies and removals and goes on where it broke
//! off. Requests go through OpenDAL's services, not its operator, which trims names. Files: `options` what a mount may
//! set, `s3` and `cos` make the service of it, `transport` sends, `remote` does one request each, `failure` says what went
//! wrong, `connection` holds the service and takes new credentials, `tree` finds directories, `list`, `read`, `write` and
//! `change` do what they say.

mod change;
mod connection;
mod cos;
mod failure;
mod list;
mod options;
mod read;
mod remote;
mod s3;
mod transport;
mod tree;
mod write;

pub(crate) use options::{Kind, Options, check_names};

use crate::{Attributes, Capabilities, Entry, Fence, Space, Ufs, Writer};
use async_trait::async_trait;
use bytes::Bytes;
use connection::Connection;
use futures::stream::BoxStream;
use goosefs_core::Result;
use goosefs_core::proto::internal::{Fingerprint, NodeKind};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Where a bucket and the mounted part of it are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Bucket {
    /// Whose bucket it is.
    pub(crate) kind: Kind,
    /// Its name, for COS with the id of its owner at the end.
    pub(crate) name: String,
    /// What all keys begin with, without slashes at its ends.
    pub(crate) prefix: String,
}

/// The connector for a bucket.
#[derive(Debug)]
pub(crate) struct ObjectUfs {
    connection: Arc<Connection>,
}

impl ObjectUfs {
    /// Storage below `bucket`, not changed against `fence`; nothing is sent yet. Later `options` win.
    pub(crate) fn new(
        bucket: Bucket,
        options: &[&BTreeMap<String, String>],
        fence: Fence,
    ) -> Result<ObjectUfs> {
        let options = Options::read(bucket.kind, options)?;
        Ok(ObjectUfs { connection: Arc::new(Connection::new(bucket, options, fence)?) })
    }
}

#[async_trait]
impl Ufs for ObjectUfs {
    fn capabilities(&self) -> Capabilities {
        Capabilities { writable: true, atomic_rename: false, directories: false, attributes: false }
    }

    async fn stat(&self, path: &str) -> Result<Entry> {
        self.connection.run(|remote| tree::stat(remote, path.to_owned())).await
    }

    async fn list(&self, path: &str) -> Result<BoxStream<'static, Result<Entry>>> {
        self.connection.run(|remote| list::list(remote, path.to_owned())).await
    }

    async fn read(
        &self,
        path: &str,
        range: Range<u64>,
        expected: &Fingerprint,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        self.connection
            .run(|remote| read::read(remote, path.to_owned(), range.clone(), expected.clone()))
            .await
    }

    async fn create(&self, path: &str, _: &Attributes) -> Result<Box<dyn Writer>> {
        self.connection.sweep().await;
        let begin = |remote| write::begin(Arc::clone(&self.connection), remote, path.to_owned());
        Ok(Box::new(self.connection.run(begin).await?))
    }

    async fn make_directory(&self, path: &str, _: &Attributes) -> Result<()> {
        self.connection.run(|remote| change::make_directory(remote, path.to_owned())).await
    }

    async fn remove(&self, path: &str, kind: NodeKind) -> Result<()> {
        self.connection.run(|remote| change::remove(remote, path.to_owned(), kind)).await
    }

    async fn remove_all(&self, path: &str) -> Result<()> {
        self.connection.run(|remote| change::remove_all(remote, path.to_owned())).await
    }

    async fn rename(&self, from: &str, to: &str, replace: bool) -> Result<()> {
        self.connection.run(|remote| change::rename(remote, from.to_owned(), to.to_owned(), replace)).await
    }

    async fn set_attributes(&self, path: &str, _: &Attributes) -> Result<()> {
        // None is kept: what there is to say is whether the object exists.
        self.stat(path).await.map(drop)
    }

    async fn space(&self) -> Result<Space> {
        Ok(Space::default())
    }
}

#[cfg(test)]
mod tests;
