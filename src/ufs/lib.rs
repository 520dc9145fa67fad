//! Under-storages: slow storage behind the cache.
//!
//! One small trait, [`Ufs`], one connector per file, behaviour added by wrappers named for what they add (`wrap/`), and
//! one suite that every connector passes. [`connect`] picks the connector by the URI's scheme. Called by masters (list,
//! stat, side effects) and workers (read, write).

mod entry;
mod fence;
mod local;
mod object;
mod requests;
pub mod secret;
mod settings;
#[cfg(any(test, feature = "testing"))]
pub mod suite;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tls;
mod uri;
mod web;
pub mod wrap;

pub use entry::{Attributes, Capabilities, Entry, Space, same_version};
pub use fence::Fence;
pub use settings::Settings;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use goosefs_core::proto::internal::{Fingerprint, NodeKind};
use goosefs_core::{Code, Error, Result};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

/// A storage. Paths are relative to the mount's URI: no leading slash, `/` between names, not percent-encoded, empty
/// for the root.
#[async_trait]
pub trait Ufs: Send + Sync + Debug + 'static {
    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Looks at one path.
    ///
    /// # Errors
    /// `NotFound`, else what the storage said.
    async fn stat(&self, path: &str) -> Result<Entry>;

    /// The entries of a directory, each once, in no order. An error within the stream voids the whole listing.
    ///
    /// # Errors
    /// `NotFound`, `NotDirectory`, else what the storage said.
    async fn list(&self, path: &str) -> Result<BoxStream<'static, Result<Entry>>>;

    /// The bytes of `range` of the version `expected`, exactly `range.end - range.start` of them.
    ///
    /// # Errors
    /// `Stale` when the storage holds another version, also in the middle; `NotFound` when the object is gone.
    async fn read(
        &self,
        path: &str,
        range: Range<u64>,
        expected: &Fingerprint,
    ) -> Result<BoxStream<'static, Result<Bytes>>>;

    /// Begins to write an object, which appears (or replaces what was there) whole at [`Writer::finish`] or not at all.
    /// Missing parent directories are made.
    ///
    /// # Errors
    /// `ReadOnly`, else what the storage said.
    async fn create(&self, path: &str, attributes: &Attributes) -> Result<Box<dyn Writer>>;

    /// Makes a directory and its missing parents; one that exists is no error.
    ///
    /// # Errors
    /// `ReadOnly`, `NotDirectory`, else what the storage said.
    async fn make_directory(&self, path: &str, attributes: &Attributes) -> Result<()>;

    /// Removes a file or an empty directory; one that is gone is no error, so that a repeated call succeeds.
    ///
    /// # Errors
    /// `ReadOnly`, `NotEmpty`, else what the storage said.
    async fn remove(&self, path: &str, kind: NodeKind) -> Result<()>;

    /// Removes a directory with all it holds; one that is gone is no error.
    ///
    /// # Errors
    /// `ReadOnly`, else what the storage said.
    async fn remove_all(&self, path: &str) -> Result<()>;

    /// Renames a file or directory. With `replace` an existing file at `to` is replaced. Repeating a rename that was
    /// done (nothing at `from`, something at `to`) succeeds.
    ///
    /// # Errors
    /// `ReadOnly`, `NotFound`, `AlreadyExists`, else what the storage said.
    async fn rename(&self, from: &str, to: &str, replace: bool) -> Result<()>;

    /// Changes attributes, as far as the storage keeps them.
    ///
    /// # Errors
    /// `ReadOnly`, `NotFound`, else what the storage said.
    async fn set_attributes(&self, path: &str, attributes: &Attributes) -> Result<()>;

    /// How much room there is.
    ///
    /// # Errors
    /// What the storage said.
    async fn space(&self) -> Result<Space>;
}

/// An object that is being written.
#[async_trait]
pub trait Writer: Send {
    /// Appends.
    ///
    /// # Errors
    /// What the storage said; the writer is then useless.
    async fn write(&mut self, bytes: Bytes) -> Result<()>;

    /// Makes the object appear, durably, and says which version it is.
    ///
    /// # Errors
    /// What the storage said; nothing appeared.
    async fn finish(self: Box<Self>) -> Result<Fingerprint>;

    /// Gives up: nothing appears, nothing stays behind.
    async fn abort(self: Box<Self>);
}

/// Checks the options of a new mount: each must mean something to the storage. [`connect`] lets those of other connectors
/// pass, since mounts that were made once must go on.
///
/// # Errors
/// `InvalidArgument` naming the option and what is allowed.
pub fn check_options(uri: &str, options: &BTreeMap<String, String>) -> Result<()> {
    let unknown = |key: &String, hint: &str| {
        let message = format!("mount option \"{key}\" means nothing to {uri}");
        Err(Error::new(Code::InvalidArgument, message).hint(hint))
    };
    match uri::Location::parse(uri)? {
        uri::Location::Local(_) => match options.keys().next() {
            Some(key) => unknown(key, "a local storage takes no options"),
            None => Ok(()),
        },
        uri::Location::Web(_) => match options.keys().find(|key| !key.starts_with(web::PREFIX)) {
            Some(key) => unknown(key, web::ALLOWED),
            None => web::Options::read(options).map(drop),
        },
        uri::Location::Object(bucket) => {
            object::check_names(bucket.kind, uri, options)?;
            object::Options::read(bucket.kind, &[options])?;
            secret::check_mount(options)
        }
    }
}

/// Makes the connector for `uri` (`/path`, `file:///path`, `http://…`, `https://…`, `s3://…`, `cosn://…`) without
/// touching the storage.
/// `options` are the mount's; those of other prefixes than the connector's own pass unread.
///
/// # Errors
/// `InvalidArgument` naming the URI or option and what is allowed.
pub fn connect(uri: &str, options: &BTreeMap<String, String>) -> Result<Arc<dyn Ufs>> {
    connect_fenced(uri, options, &Fence::open())
}

/// As [`connect`], for one who may change the storage only while `fence` says so.
///
/// # Errors
/// As [`connect`].
pub fn connect_fenced(uri: &str, options: &BTreeMap<String, String>, fence: &Fence) -> Result<Arc<dyn Ufs>> {
    connect_over(&BTreeMap::new(), uri, options, fence)
}

/// As [`connect_fenced`], with `settings` where `options` say nothing.
fn connect_over(
    settings: &BTreeMap<String, String>,
    uri: &str,
    options: &BTreeMap<String, String>,
    fence: &Fence,
) -> Result<Arc<dyn Ufs>> {
    match uri::Location::parse(uri)? {
        uri::Location::Local(root) => Ok(Arc::new(local::LocalUfs::new(root, fence.clone()))),
        uri::Location::Web(base) => Ok(Arc::new(web::WebUfs::new(base, &web::Options::read(options)?)?)),
        uri::Location::Object(bucket) => {
            Ok(Arc::new(object::ObjectUfs::new(bucket, &[settings, options], fence.clone())?))
        }
    }
}
