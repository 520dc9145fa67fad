//! Snapshots on disk: one checksummed file, written aside and renamed.
//!
//! Layout: magic, length of the head (u32, little endian), head (`SnapshotMeta` without length and checksum), image,
//! crc32c (u32) over all that. A file is sent to followers as it is.

use super::Frozen;
use super::identity::{make_folder, sync_parent};
use super::types::{
    SnapshotMeta, log_id_from_wire, log_id_to_wire, membership_to_wire, stored_membership_from_wire,
};
use crate::checksum::crc32c_append;
use crate::error::{Code, Error, Result};
use crate::proto::raft as wire;
use parking_lot::Mutex;
use prost::Message;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"GFSSNAP1";
const EXTENSION: &str = "snapshot";
const TRAILER: u64 = 4;
/// A head holds a membership; more is a damaged file.
const MAX_HEAD: u32 = 1 << 20;
/// Written bytes go to disk in portions, so that the log's fsync never waits for a whole snapshot.
const SYNC_EVERY: u64 = 8 << 20;
const BUFFER: usize = 256 << 10;

/// A complete snapshot file.
#[derive(Clone, Debug)]
pub(super) struct SnapshotFile {
    pub(super) path: PathBuf,
    /// Stays readable when a newer snapshot has replaced the file.
    pub(super) file: Arc<File>,
    pub(super) length: u64,
    pub(super) crc32c: u32,
    /// Where the image begins.
    image: u64,
}

impl SnapshotFile {
    /// Hands the image, which was checked when this was made, to `restore`.
    ///
    /// # Errors
    /// Those of `restore`, I/O errors.
    pub(super) fn image(&self, restore: impl FnOnce(&mut dyn Read) -> Result<()>) -> Result<()> {
        let context = || format!("read snapshot {}", self.path.display());
        // A file of its own: the shared one has a single position.
        let mut file = File::open(&self.path).map_err(|e| Error::io(context(), e))?;
        file.seek(SeekFrom::Start(self.image)).map_err(|e| Error::io(context(), e))?;
        restore(&mut BufReader::with_capacity(BUFFER, file).take(self.length - TRAILER - self.image))
    }
}

/// The folder of snapshots; holds the newest one.
pub(super) struct Snapshots {
    folder: PathBuf,
    current: Mutex<Option<(SnapshotMeta, SnapshotFile)>>,
}

impl Snapshots {
    /// Opens the folder, finds the newest snapshot that is whole and removes the rest.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn open(folder: &Path) -> Result<Snapshots> {
        let context = || format!("open snapshots in {}", folder.display());
        make_folder(folder).map_err(|e| Error::io(context(), e))?;
        let mut newest: Option<(SnapshotMeta, SnapshotFile)> = None;
        for entry in fs::read_dir(folder).map_err(|e| Error::io(context(), e))? {
            let path = entry.map_err(|e| Error::io(context(), e))?.path();
            if path.extension().is_none_or(|extension| extension != EXTENSION) {
                remove(&path);
                continue;
            }
            match check(&path) {
                Ok(found)
                    if newest.as_ref().is_none_or(|(meta, _)| meta.last_log_id < found.0.last_log_id) =>
                {
                    if let Some((_, old)) = newest.replace(found) {
                        remove(&old.path);
                    }
                }
                Ok((_, old)) => remove(&old.path),
                // Kept for a look; the log behind it may be gone, which the start then says.
                Err(error) => tracing::error!(path = %path.display(), %error, "snapshot cannot be used"),
            }
        }
        Ok(Snapshots { folder: folder.to_owned(), current: Mutex::new(newest) })
    }

    pub(super) fn current(&self) -> Option<(SnapshotMeta, SnapshotFile)> {
        self.current.lock().clone()
    }

    /// Where a snapshot that is being received is written.
    pub(super) fn incoming(&self) -> PathBuf {
        self.folder.join("incoming.part")
    }

    /// Writes a new snapshot and makes it the current one. Blocking.
    ///
    /// # Errors
    /// I/O errors; the current snapshot then stays.
    pub(super) fn write(&self, meta: &SnapshotMeta, frozen: &dyn Frozen) -> Result<SnapshotFile> {
        let path = self.folder.join(format!("{}.part", name(meta)));
        let written = write_file(&path, &meta_to_wire(meta), frozen);
        let file = written.map_err(|e| {
            remove(&path);
            Error::io(format!("write snapshot {}", path.display()), e)
        })?;
        self.adopt(meta, file)
    }

    /// Makes a complete file of this folder the current snapshot. Blocking.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn adopt(&self, meta: &SnapshotMeta, mut file: SnapshotFile) -> Result<SnapshotFile> {
        let path = self.folder.join(format!("{}.{EXTENSION}", name(meta)));
        let mut current = self.current.lock();
        if file.path != path {
            let context = || format!("keep snapshot {}", path.display());
            fs::rename(&file.path, &path).map_err(|e| Error::io(context(), e))?;
            sync_parent(&path).map_err(|e| Error::io(context(), e))?;
            file.path = path;
        }
        // An install may overtake a snapshot that was begun before: the newer one stays.
        if current.as_ref().is_some_and(|(newest, _)| newest.last_log_id > meta.last_log_id) {
            remove(&file.path);
            return Ok(file);
        }
        if let Some((_, old)) = current.replace((meta.clone(), file.clone()))
            && old.path != file.path
        {
            remove(&old.path);
        }
        Ok(file)
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "old snapshot file could not be removed");
    }
}

fn name(meta: &SnapshotMeta) -> String {
    meta.last_log_id.map_or_else(
        || "0-0-0".to_owned(),
        |id| format!("{}-{}-{}", id.leader_id.term, id.leader_id.node_id, id.index),
    )
}

/// What the head of a file and the first message of a transfer say.
pub(super) fn meta_to_wire(meta: &SnapshotMeta) -> wire::SnapshotMeta {
    wire::SnapshotMeta {
        id: name(meta),
        last_log: meta.last_log_id.as_ref().map(log_id_to_wire),
        membership_log: meta.last_membership.log_id().as_ref().map(log_id_to_wire),
        membership: Some(membership_to_wire(meta.last_membership.membership())),
        ..wire::SnapshotMeta::default()
    }
}

pub(super) fn meta_from_wire(meta: &wire::SnapshotMeta) -> io::Result<SnapshotMeta> {
    Ok(SnapshotMeta {
        last_log_id: meta.last_log.as_ref().map(log_id_from_wire),
        last_membership: stored_membership_from_wire(meta.membership_log.as_ref(), meta.membership.as_ref())?,
    })
}

/// Counts, checksums and syncs what passes.
struct Summing<W: Write> {
    inner: W,
    file: Arc<File>,
    length: u64,
    synced: u64,
    crc: u32,
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.crc = crc32c_append(self.crc, &bytes[..written]);
        self.length += written as u64;
        if self.length - self.synced >= SYNC_EVERY {
            self.file.sync_data()?;
            self.synced = self.length;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes and fsyncs a file with this head.
///
/// # Errors
/// I/O errors; what was written stays.
pub(super) fn write_file(
    path: &Path,
    head: &wire::SnapshotMeta,
    frozen: &dyn Frozen,
) -> io::Result<SnapshotFile> {
    let file = Arc::new(File::options().create(true).truncate(true).read(true).write(true).open(path)?);
    let head = head.encode_to_vec();
    let mut out = Summing {
        inner: BufWriter::with_capacity(BUFFER, file.as_ref()),
        file: file.clone(),
        length: 0,
        synced: 0,
        crc: 0,
    };
    out.write_all(MAGIC)?;
    out.write_all(&u32::try_from(head.len()).map_err(io::Error::other)?.to_le_bytes())?;
    out.write_all(&head)?;
    let image = out.length;
    frozen.write(&mut out)?;
    let crc32c = out.crc;
    out.inner.write_all(&crc32c.to_le_bytes())?;
    out.flush()?;
    let length = out.length + TRAILER;
    drop(out);
    file.sync_all()?;
    Ok(SnapshotFile { path: path.to_owned(), file, length, crc32c, image })
}

/// Reads a whole file and gives back what it is when its checksum is right. Blocking.
///
/// # Errors
/// `Corrupt` when it is not a whole snapshot, I/O errors.
pub(super) fn check(path: &Path) -> Result<(SnapshotMeta, SnapshotFile)> {
    let (head, file) = read(path)?;
    let unreadable = |_| corrupt(path, "has an unreadable head");
    Ok((meta_from_wire(&head).map_err(unreadable)?, file))
}

fn corrupt(path: &Path, what: &str) -> Error {
    Error::new(Code::Corrupt, format!("snapshot {}: {what}", path.display()))
}

/// As [`check`], with the whole head.
///
/// # Errors
/// Those of [`check`].
pub(super) fn read(path: &Path) -> Result<(wire::SnapshotMeta, SnapshotFile)> {
    let corrupt = |what: &str| corrupt(path, what);
    let io = |e: io::Error| match e.kind() {
        io::ErrorKind::UnexpectedEof => corrupt("ends too early"),
        _ => Error::io(format!("read snapshot {}", path.display()), e),
    };
    let file = Arc::new(File::open(path).map_err(io)?);
    let length = file.metadata().map_err(io)?.len();
    let mut reader = BufReader::with_capacity(BUFFER, file.as_ref());
    let mut start = [0; 12];
    reader.read_exact(&mut start).map_err(io)?;
    let size = u32::from_le_bytes([start[8], start[9], start[10], start[11]]);
    let image = 12 + u64::from(size);
    if &start[..8] != MAGIC || size > MAX_HEAD || image + TRAILER > length {
        return Err(corrupt("is not a whole snapshot"));
    }
    let mut head = vec![0; size as usize];
    reader.read_exact(&mut head).map_err(io)?;
    let mut crc = crc32c_append(crc32c_append(0, &start), &head);
    let mut left = length - TRAILER - image;
    let mut buffer = vec![0; BUFFER];
    while left > 0 {
        let portion = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        reader.read_exact(&mut buffer[..portion]).map_err(io)?;
        crc = crc32c_append(crc, &buffer[..portion]);
        left -= portion as u64;
    }
    let mut trailer = [0; TRAILER as usize];
    reader.read_exact(&mut trailer).map_err(io)?;
    if u32::from_le_bytes(trailer) != crc {
        return Err(corrupt("does not match its checksum"));
    }
    let head = wire::SnapshotMeta::decode(head.as_slice()).map_err(|_| corrupt("has an unreadable head"))?;
    drop(reader);
    Ok((head, SnapshotFile { path: path.to_owned(), file, length, crc32c: crc, image }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::LogId;

    struct Bytes(Vec<u8>);

    impl Frozen for Bytes {
        fn write(&self, out: &mut dyn Write) -> io::Result<()> {
            out.write_all(&self.0)
        }

        fn records(&self) -> u64 {
            1
        }
    }

    fn meta(index: u64) -> SnapshotMeta {
        let id: LogId = log_id_from_wire(&wire::LogId { term: 2, node: 3, index });
        SnapshotMeta { last_log_id: Some(id), last_membership: Default::default() }
    }

    fn image(file: &SnapshotFile) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read =
            |from: &mut dyn Read| from.read_to_end(&mut bytes).map(drop).map_err(|e| Error::io("read", e));
        file.image(read).unwrap();
        bytes
    }

    #[test]
    fn the_newest_snapshot_is_found_again_and_is_the_only_one() {
        let folder = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(folder.path()).unwrap();
        let big = vec![7; 3 << 20];
        snapshots.write(&meta(5), &Bytes(b"five".to_vec())).unwrap();
        snapshots.write(&meta(9), &Bytes(big.clone())).unwrap();
        // One that was begun before and is late does not replace it.
        snapshots.write(&meta(6), &Bytes(b"six".to_vec())).unwrap();
        fs::write(folder.path().join("x.part"), b"left behind by a crash").unwrap();
        let (found, file) = Snapshots::open(folder.path()).unwrap().current().unwrap();
        assert_eq!(found, meta(9));
        assert_eq!(image(&file), big);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_snapshot_is_never_used() {
        let folder = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(folder.path()).unwrap();
        let file = snapshots.write(&meta(5), &Bytes(vec![7; 100_000])).unwrap();
        let whole = fs::read(&file.path).unwrap();
        for cut in [0, 5, 11, 20, whole.len() / 2, whole.len() - 1] {
            fs::write(&file.path, &whole[..cut]).unwrap();
            assert_eq!(check(&file.path).unwrap_err().code, Code::Corrupt, "cut at {cut}");
        }
        for flip in [0, 9, 14, 5_000, whole.len() - 2] {
            let mut bytes = whole.clone();
            bytes[flip] ^= 1;
            fs::write(&file.path, &bytes).unwrap();
            assert_eq!(check(&file.path).unwrap_err().code, Code::Corrupt, "flipped at {flip}");
        }
        assert!(Snapshots::open(folder.path()).unwrap().current().is_none());
    }
}
