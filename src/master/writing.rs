//! The end of writing: what "complete" and "persisted" mean for each write type.
//!
//! | write type | complete means |
//! |---|---|
//! | MUST_CACHE, TRY_CACHE, NONE | a quorum of masters knows which workers hold the bytes |
//! | CACHE_THROUGH, THROUGH | the under-storage has an object of that length, verified. When it cannot take it now the writer hears so, and the file is complete in the cache meanwhile: the leader's upkeep brings it there |
//! | ASYNC_THROUGH | as MUST_CACHE; the upload is announced in the log and goes on by itself |
//!
//! Used by both faces.

use crate::journal::Op;
use crate::master::Master;
use crate::mounts::of_storage;
use goosefs_core::id::{ContentId, InodeId};
use goosefs_core::proto::internal::{Attr, Caller, Fingerprint, NodeKind, Persistence, WriteType};
use goosefs_core::proto::journal::{CompleteFile, PersistFile, entry::Command};
use goosefs_core::{Code, Error, Result};
use std::time::Duration;

/// How long the under-storage may take to say whether it has an object.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// A file that its writer calls done.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) content: ContentId,
    pub(crate) length: u64,
    /// Type and value of the whole file's checksum, as a client of the GooseFS protocol gave them.
    pub(crate) checksum: Option<(u32, i64)>,
    /// The client may have written the object in the under-storage by itself: look there first.
    pub(crate) maybe_in_ufs: bool,
}

impl Master {
    /// Completes a file as its write type asks.
    ///
    /// # Errors
    /// What `CompleteFile` and `PersistFile` say, and what the under-storage says.
    pub(crate) async fn complete(&self, written: &Written, caller: &Caller, op: Op) -> Result<Attr> {
        let attr = self.journal.read()?.attr(written.content.0)?;
        let persisted = if through(attr.write_type()) && !is_persisted(&attr, written.length) {
            match self.persist_now(&attr, written, caller).await {
                Ok(fingerprint) => Some(fingerprint),
                Err(error) => {
                    if storage_failed(error.code) {
                        self.complete_in_cache(written, caller).await;
                    }
                    return Err(error);
                }
            }
        } else {
            None
        };
        let command = complete_file(written, persisted);
        let applied = self.journal.propose(command, caller, op).await?;
        if attr.write_type() == WriteType::AsyncThrough {
            self.persist_later(written.content, written.length, caller).await;
        }
        applied.attr.ok_or_else(|| Error::new(Code::Internal, "CompleteFile answered without attributes"))
    }

    /// The bytes are safe with the workers and all there: the file is as its writer left it, only not in its storage yet.
    async fn complete_in_cache(&self, written: &Written, caller: &Caller) {
        let command = complete_file(written, None);
        if let Err(error) = self.journal.propose(command, caller, Op::Unnumbered).await {
            tracing::debug!(content = written.content.0, %error, "a file whose upload failed stays incomplete");
        }
    }

    /// Uploads what `content` holds and waits until the under-storage has it. Gives what was verified there.
    ///
    /// # Errors
    /// As [`Master::complete`].
    pub(crate) async fn persist(
        &self,
        content: ContentId,
        length: u64,
        caller: &Caller,
    ) -> Result<Fingerprint> {
        let command = Command::PersistFile(PersistFile { content: content.0, length, once: false });
        self.journal.propose(command, caller, Op::Unnumbered).await?;
        let version = self.journal.read()?.version(content)?;
        version.fingerprint.ok_or_else(|| {
            Error::new(Code::Busy, format!("content {content} was changed while it was persisted"))
        })
    }

    /// Announces an upload; it goes on by itself. A failure to announce it is made up for by the leader's upkeep, and so is
    /// one of the upload itself, which is tried once.
    pub(crate) async fn persist_later(&self, content: ContentId, length: u64, caller: &Caller) {
        let command = Command::PersistFile(PersistFile { content: content.0, length, once: true });
        if let Err(error) = self.journal.begin(command, caller, Op::Unnumbered).await {
            tracing::debug!(content = content.0, %error, "upload could not be announced yet");
        }
    }

    async fn persist_now(&self, attr: &Attr, written: &Written, caller: &Caller) -> Result<Fingerprint> {
        if written.maybe_in_ufs
            && let Some(fingerprint) = self.look_in_ufs(InodeId(attr.inode), written.length).await?
        {
            return Ok(fingerprint);
        }
        self.persist(written.content, written.length, caller).await
    }

    /// The object of this file in the under-storage, if there is one of that length.
    async fn look_in_ufs(&self, inode: InodeId, length: u64) -> Result<Option<Fingerprint>> {
        let found = self.find_object(inode).await?;
        Ok(found.filter(|fingerprint| fingerprint.length == length))
    }

    /// The object of this file in the under-storage, if there is one.
    ///
    /// # Errors
    /// The under-storage's.
    pub(crate) async fn find_object(&self, inode: InodeId) -> Result<Option<Fingerprint>> {
        let (mount, path) = {
            let namespace = self.journal.read()?;
            let (mount, path) = namespace.ufs_location(inode)?;
            (namespace.mount(mount)?, path)
        };
        let ufs = self.connectors.of(&mount)?;
        match tokio::time::timeout(LOOK_TIMEOUT, ufs.stat(&path)).await {
            Ok(Ok(entry)) => Ok((entry.kind == NodeKind::File).then_some(entry.fingerprint)),
            Ok(Err(error)) if error.code == Code::NotFound => Ok(None),
            Ok(Err(error)) => Err(of_storage(error.context(format!("look for {path} in {}", mount.ufs)))),
            Err(_) => Err(Error::new(
                Code::Ufs,
                format!("{} did not say whether it has {path} within {LOOK_TIMEOUT:?}", mount.ufs),
            )),
        }
    }
}

/// Whether a file of this write type is in the under-storage before it is complete.
pub(crate) fn through(write_type: WriteType) -> bool {
    match write_type {
        WriteType::CacheThrough | WriteType::Through => true,
        WriteType::Unspecified
        | WriteType::MustCache
        | WriteType::TryCache
        | WriteType::AsyncThrough
        | WriteType::None => false,
    }
}

fn complete_file(written: &Written, persisted: Option<Fingerprint>) -> Command {
    let (checksum_type, checksum) = written.checksum.unzip();
    Command::CompleteFile(CompleteFile {
        content: written.content.0,
        length: written.length,
        persisted,
        checksum_type,
        checksum,
        locations: Vec::new(),
    })
}

/// Whether an upload failed for what the storage, or the way to it, is like at the moment.
fn storage_failed(code: Code) -> bool {
    match code {
        Code::Ufs
        | Code::Io
        | Code::NoSpace
        | Code::PermissionDenied
        | Code::Internal
        | Code::Unavailable => true,
        Code::DeadlineExceeded => true,
        Code::NotFound | Code::AlreadyExists | Code::NotDirectory | Code::IsDirectory | Code::NotEmpty => {
            true
        }
        Code::InvalidArgument
        | Code::InvalidPath
        | Code::NameTooLong
        | Code::Unauthenticated
        | Code::ReadOnly
        | Code::Incomplete
        | Code::Stale
        | Code::NotLeader
        | Code::Cancelled
        | Code::Unimplemented
        | Code::Corrupt
        | Code::WrongCluster
        | Code::Busy
        | Code::CrossMount
        | Code::Lost => false,
    }
}

fn is_persisted(attr: &Attr, length: u64) -> bool {
    attr.completed && attr.persistence() == Persistence::Persisted && attr.length == length
}
