//! Writing a local file aside and letting it appear whole.

use super::change::{apply_attributes_on_create, sync_directory};
use super::describe::fingerprint;
use super::place::{HIDDEN_PREFIX, Place};
use crate::{Attributes, Fence, Writer};
use async_trait::async_trait;
use bytes::Bytes;
use goosefs_core::proto::internal::Fingerprint;
use goosefs_core::{Code, Error, Result};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// A file under its hidden name. Dropped unfinished, it is removed.
#[derive(Debug)]
pub(super) struct LocalWriter {
    file: Arc<File>,
    aside: Aside,
    directory: PathBuf,
    target: PathBuf,
    attributes: Attributes,
    fence: Fence,
}

impl LocalWriter {
    /// Opens the hidden file; blocking.
    pub(super) fn begin(place: &Place, path: &str, attributes: Attributes) -> Result<LocalWriter> {
        let (directory, name) = place.parent_made(path)?;
        let target = directory.join(name);
        if target.is_dir() {
            return Err(Error::new(Code::IsDirectory, format!("{} is a directory", place.show(path))));
        }
        let (hidden, file) =
            create_hidden(&directory).map_err(|e| Error::io(format!("create {}", place.show(path)), e))?;
        Ok(LocalWriter {
            file: Arc::new(file),
            aside: Aside(Some(hidden)),
            directory,
            target,
            attributes,
            fence: place.fence(),
        })
    }

    /// Makes the object appear; blocking.
    fn appear(mut self) -> Result<Fingerprint> {
        let doing = || format!("write {}", self.target.display());
        let Some(hidden) = self.aside.0.as_deref() else {
            return Err(Error::new(Code::Internal, format!("{} was finished twice", self.target.display())));
        };
        apply_attributes_on_create(hidden, &self.attributes)?;
        self.file.sync_all().map_err(|e| Error::io(doing(), e))?;
        self.fence.check()?;
        std::fs::rename(hidden, &self.target).map_err(|e| Error::io(doing(), e))?;
        self.aside.0 = None;
        sync_directory(&self.directory)?;
        let metadata = self.file.metadata().map_err(|e| Error::io(doing(), e))?;
        Ok(fingerprint(&metadata))
    }
}

/// A new file under a hidden name that nobody else uses, also no other machine that shares the directory.
fn create_hidden(directory: &Path) -> std::io::Result<(PathBuf, File)> {
    loop {
        let moment = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let hidden = directory.join(format!("{HIDDEN_PREFIX}{moment:x}-{:x}", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&hidden) {
            Ok(file) => return Ok((hidden, file)),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
}

#[async_trait]
impl Writer for LocalWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let file = Arc::clone(&self.file);
        let written =
            super::blocking(move || (&*file).write_all(&bytes).map_err(|e| Error::io("write", e))).await;
        written.map_err(|e| e.context(self.target.display()))
    }

    async fn finish(self: Box<Self>) -> Result<Fingerprint> {
        super::blocking(move || self.appear()).await
    }

    async fn abort(self: Box<Self>) {
        let removed = super::blocking(move || {
            drop(self);
            Ok(())
        });
        if let Err(error) = removed.await {
            tracing::warn!(%error, "a file that was given up could not be removed");
        }
    }
}

/// The hidden name, removed when it goes out of scope.
#[derive(Debug)]
struct Aside(Option<PathBuf>);

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(hidden) = self.0.take()
            && let Err(error) = std::fs::remove_file(&hidden)
        {
            tracing::warn!(file = %hidden.display(), %error, "cannot remove a file that was given up");
        }
    }
}
