//! What is open here when its name goes: unlinked, or replaced by a rename.
//!
//! Masters and workers forget a file with its name, but whoever has it open goes on with its bytes, as on any file system. A
//! file that the kernel reads itself needs nothing. Of any other the bytes are kept before the name goes: by the worker's
//! descriptor where the file is wholly cached on this machine, else by a copy, within bounds. A file that is being written
//! lives on as a [`Nameless`] file of this process, where any write is possible.

use super::write::{Phase, State, Writing, detached};
use super::{Fs, Who, is_gone, node};
use crate::attr::{Kind, kind};
use crate::backend::{LocalFile, Source};
use crate::handle::Lease;
use async_trait::async_trait;
use bytes::Bytes;
use goosefs_core::id::{ContentId, InodeId};
use goosefs_core::proto::internal::Attr;
use goosefs_core::{Code, Error, Result};
use std::fs::{File, OpenOptions};
use std::future::Future;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Larger files are not copied: their name goes, and parts of them that are not cached with it.
const LARGEST_COPY: u64 = 256 << 20;

/// Larger files are not copied for an open that may come.
const LARGEST_HELD: u64 = 16 << 20;

/// A copy that takes longer is given up.
const COPYING: Duration = Duration::from_secs(20);

/// Bytes copied at a time.
const PIECE: u32 = 1 << 20;

/// A file of this process alone, that goes with its last user.
#[derive(Debug)]
pub struct Nameless {
    file: Arc<File>,
}

impl Nameless {
    /// An empty one, in the folder for temporary files; that must not lie on the mount itself.
    fn new(mount_point: &Path) -> Result<Nameless> {
        let folder = Some(std::env::temp_dir()).filter(|folder| !folder.starts_with(mount_point));
        let folder = folder.unwrap_or_else(|| PathBuf::from("/var/tmp"));
        let path = folder.join(format!(".goosefs-nameless-{}-{:016x}", std::process::id(), unique()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(|cause| Error::io(format_args!("create {}", path.display()), cause))?;
        std::fs::remove_file(&path)
            .map_err(|cause| Error::io(format_args!("unlink {}", path.display()), cause))?;
        Ok(Nameless { file: Arc::new(file) })
    }

    /// Its bytes.
    pub(super) fn length(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }

    pub(super) fn cut(&self, size: u64) -> Result<()> {
        self.file.set_len(size).map_err(|cause| Error::io("cut a file without a name", cause))
    }

    pub(super) async fn write(&self, offset: u64, data: Bytes) -> Result<()> {
        let file = self.file.clone();
        blocking(move || {
            file.write_all_at(&data, offset).map_err(|cause| Error::io("write a file without a name", cause))
        })
        .await
    }
}

fn unique() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let cut_off = |_| Error::new(Code::Internal, "work on a local file was cut off");
    tokio::task::spawn_blocking(work).await.map_err(cut_off)?
}

#[async_trait]
impl Source for Nameless {
    async fn read(&self, offset: u64, length: u32) -> Result<Bytes> {
        let file = self.file.clone();
        blocking(move || read_file(&file, offset, length)).await
    }
}

/// A whole cached file, by the worker's descriptor.
struct Descriptor {
    file: Arc<File>,
    _lease: Box<dyn Lease>,
}

#[async_trait]
impl Source for Descriptor {
    async fn read(&self, offset: u64, length: u32) -> Result<Bytes> {
        let file = self.file.clone();
        blocking(move || read_file(&file, offset, length)).await
    }
}

fn read_file(file: &File, offset: u64, length: u32) -> Result<Bytes> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("read an open file", error)),
        }
    }
    bytes.truncate(filled);
    Ok(bytes.into())
}

/// Reads a cached file by its descriptor.
pub(super) fn descriptor(local: LocalFile) -> Arc<dyn Source> {
    Arc::new(Descriptor { file: local.file, _lease: local.lease })
}

impl Fs {
    /// Runs `call`, which takes `name` off a file. Whoever has that open here keeps its bytes. Runs to its end even when the
    /// caller goes away.
    pub(super) async fn taking_name(
        self: &Arc<Fs>,
        who: Who,
        directory: InodeId,
        name: &str,
        call: impl Future<Output = Result<()>> + Send + 'static,
    ) -> Result<()> {
        let (fs, taking) = (self.clone(), self.races.take());
        let Some(attr) = self.open_under(who, directory, name).await else {
            // Others may open it until the call ends, and learn by `taking` that it does.
            let outcome = call.await;
            drop(taking);
            return outcome;
        };
        taking.is_of(node::of(&attr));
        let work = async move {
            let _taking = taking;
            let content = ContentId(attr.content);
            if let Some(writing) = fs.writing_of(content) {
                writing.wait_while_closing().await;
            }
            fs.keep_for_readers(&attr).await;
            match fs.writing_of(content).filter(|writing| writing.is_under_way()) {
                Some(writing) => fs.taking_name_of_written(&writing, call).await?,
                None => call.await?,
            }
            fs.forget_attr(attr.content);
            Ok(())
        };
        detached(&self.tasks, "take-name", work).await
    }

    /// The file of this name, if it is open here in a way that needs more than the kernel has.
    async fn open_under(&self, who: Who, directory: InodeId, name: &str) -> Option<Attr> {
        if !self.needs_keeping(None) {
            return None;
        }
        let caller = self.caller(who).await;
        let attr = self.bounded("lookup", self.backend.lookup(caller, directory, name)).await.ok()?;
        (kind(&attr) == Kind::File && self.needs_keeping(Some(attr.content))).then_some(attr)
    }

    /// Whether some file, or the one of this node, is open here and not kept.
    fn needs_keeping(&self, node: Option<u64>) -> bool {
        let handles = self.handles.read();
        handles.values().any(|handle| {
            node.is_none_or(|node| node == handle.node()) && (handle.writing.is_some() || !handle.is_kept())
        })
    }

    async fn keep_for_readers(&self, attr: &Attr) {
        let open: Vec<_> = {
            let handles = self.handles.read();
            let open = handles.values().filter(|handle| handle.node() == node::of(attr));
            open.filter(|handle| handle.writing.is_none() && !handle.is_kept()).cloned().collect()
        };
        if open.is_empty() || self.is_written(attr) {
            return;
        }
        match self.keep(attr).await {
            Ok(source) => open.iter().for_each(|handle| handle.keep(source.clone())),
            Err(error) => {
                tracing::info!(content = attr.content, %error, "an open file loses its name and what is not cached of it");
            }
        }
    }

    /// Takes hold of a file's bytes for the open that follows; false when they are gone already.
    pub(super) async fn hold(&self, attr: &Attr) -> bool {
        if kind(attr) != Kind::File || !attr.completed || attr.length == 0 {
            return true;
        }
        // The kernel may look up a name twice before it opens it.
        let held = self.races.held(node::of(attr), self.clock.monotonic());
        let bytes: Arc<dyn Source> = match held.filter(|(held, _)| held.generation == attr.generation) {
            Some((_, bytes)) => bytes,
            None => match self.local_file(attr).await {
                Some(local) => descriptor(local),
                None if attr.length > LARGEST_HELD => return true,
                None => match self.copy(attr, attr.length).await {
                    Ok(copy) => copy,
                    Err(error) => return !is_gone(error.code),
                },
            },
        };
        self.races.hold(attr.clone(), bytes, self.clock.monotonic());
        true
    }

    fn is_written(&self, attr: &Attr) -> bool {
        self.writing_of(ContentId(attr.content)).is_some_and(|writing| writing.is_under_way())
    }

    /// All bytes of a file, for as long as somebody wants them.
    pub(super) async fn keep(&self, attr: &Attr) -> Result<Arc<dyn Source>> {
        if attr.completed
            && let Some(local) = self.local_file(attr).await
        {
            return Ok(descriptor(local));
        }
        Ok(self.copy(attr, attr.length).await?)
    }

    async fn copy(&self, attr: &Attr, length: u64) -> Result<Arc<Nameless>> {
        if length > LARGEST_COPY {
            let message = format!("{length} bytes are too many to be kept");
            return Err(Error::new(Code::Stale, message));
        }
        let copy = Arc::new(Nameless::new(&self.config.mount_point)?);
        let source = self.backend.source(attr);
        let copying = async {
            let mut at = 0;
            while at < length {
                let wanted = u32::try_from(length - at).unwrap_or(PIECE).min(PIECE);
                let bytes = source.read(at, wanted).await?;
                if bytes.is_empty() {
                    return Err(Error::new(Code::Stale, format!("it ends at {at}, not at {length}")));
                }
                let count = bytes.len() as u64;
                copy.write(at, bytes).await?;
                at += count;
            }
            Ok(())
        };
        self.within(COPYING, "keep an open file", copying).await?;
        Ok(copy)
    }

    /// The name of a file that is being written goes; those who write it go on with a file of this process.
    async fn taking_name_of_written(
        &self,
        writing: &Arc<Writing>,
        call: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        let mut state = writing.state.lock().await;
        let kept = self.copy_written(&mut state).await;
        call.await?;
        match kept {
            Ok(Some(file)) => {
                let handles = self.handles.read();
                let readers = handles.values().filter(|handle| handle.node() == writing.content.0);
                readers
                    .filter(|handle| handle.writing.is_none())
                    .for_each(|handle| handle.keep(file.clone()));
                writing.unnamed(&mut state, file, self.clock.now_ms());
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(content = %writing.content, %error, "a file lost its name and cannot be written on");
                state.phase = Phase::Failed(error);
            }
        }
        Ok(())
    }

    /// What was written so far; nothing when nothing is being written.
    async fn copy_written(&self, state: &mut State) -> Result<Option<Arc<Nameless>>> {
        let Phase::Open { length, .. } = &state.phase else { return Ok(None) };
        let length = *length;
        state.commit().await?;
        let attr = Attr { length, ..state.attr.clone() };
        self.copy(&attr, length).await.map(Some)
    }
}
