//! Who this master is: the identity file of the data directory, and the lock that keeps a second process out.
//!
//! The Raft node id is drawn at random together with the directory and never used again after the log is lost, because
//! Raft must not see a node id come back without its log. Slot, cluster id and epoch are checked at every start.

use super::ClusterMark;
use crate::error::{Code, Error, Result};
use crate::id::{ClusterId, Epoch, NodeId};
use parking_lot::Mutex;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const FILE: &str = "identity";
const LOCK: &str = "lock";
const VERSION: u32 = 1;

/// What the identity file says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    pub(super) slot: u32,
    pub(super) node: NodeId,
    pub(super) mark: Option<ClusterMark>,
    /// Takes or took part in a cluster: with an empty log such a directory may join one, never found one.
    pub(super) member: bool,
}

impl Identity {
    /// A new life in `slot`.
    pub(super) fn new(slot: u32, mark: Option<ClusterMark>, member: bool) -> Identity {
        Identity { slot, node: NodeId(rand::random_range(1..=i64::MAX as u64)), mark, member }
    }

    fn to_text(self) -> String {
        let mut text =
            format!("version={VERSION}\nslot={}\nnode={}\nmember={}\n", self.slot, self.node, self.member);
        if let Some(mark) = self.mark {
            text.push_str(&format!("cluster={}\nepoch={}\n", mark.id, mark.epoch));
        }
        let crc = crate::checksum::crc32c(text.as_bytes());
        text.push_str(&format!("crc32c={crc:08x}\n"));
        text
    }

    fn parse(text: &str) -> Option<Identity> {
        let (body, crc) = text.trim_end().rsplit_once("crc32c=")?;
        if u32::from_str_radix(crc, 16).ok()? != crate::checksum::crc32c(body.as_bytes()) {
            return None;
        }
        let field = |name: &str| {
            body.lines()
                .find_map(|line| line.split_once('=').filter(|(key, _)| *key == name))
                .map(|(_, value)| value)
        };
        if field("version")?.parse::<u32>().ok()? != VERSION {
            return None;
        }
        let mark = match (field("cluster"), field("epoch")) {
            (Some(id), Some(epoch)) => {
                Some(ClusterMark { id: ClusterId(id.parse().ok()?), epoch: Epoch(epoch.parse().ok()?) })
            }
            _ => None,
        };
        Some(Identity {
            slot: field("slot")?.parse().ok()?,
            node: NodeId(field("node")?.parse().ok()?),
            mark,
            member: field("member")? == "true",
        })
    }
}

/// A data directory that is ours alone while this lives.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    // The lock goes with the file.
    lock: Mutex<Option<File>>,
}

impl Directory {
    /// Makes the directory if need be and locks it.
    ///
    /// # Errors
    /// `Busy` when another process holds it, I/O errors.
    pub(super) fn open(path: &Path) -> Result<Directory> {
        let context = || format!("open data directory {}", path.display());
        make_folder(path).map_err(|e| Error::io(context(), e))?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK))
            .map_err(|e| Error::io(context(), e))?;
        match lock.try_lock() {
            Ok(()) => Ok(Directory { path: path.to_owned(), lock: Mutex::new(Some(lock)) }),
            Err(fs::TryLockError::WouldBlock) => Err(Error::new(
                Code::Busy,
                format!("data directory {} is in use by another process", path.display()),
            )
            .hint("stop the other master, or give this one a directory of its own")),
            Err(fs::TryLockError::Error(e)) => Err(Error::io(context(), e)),
        }
    }

    /// Lets another process have the directory.
    pub(super) fn release(&self) {
        self.lock.lock().take();
    }

    /// What the directory says it is; `None` in a new one.
    ///
    /// # Errors
    /// `Corrupt` when the file cannot be understood, I/O errors.
    pub(super) fn identity(&self) -> Result<Option<Identity>> {
        let path = self.path.join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => match Identity::parse(&text) {
                Some(identity) => Ok(Some(identity)),
                None => Err(Error::new(Code::Corrupt, format!("{} cannot be understood", path.display()))
                    .hint("move the data directory away: the master then joins its cluster again with an empty one")),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io(format!("read {}", path.display()), e)),
        }
    }

    /// Replaces the identity, durably.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn save(&self, identity: Identity) -> Result<()> {
        let path = self.path.join(FILE);
        write_aside(&path, identity.to_text().as_bytes())
            .map_err(|e| Error::io(format!("write {}", path.display()), e))
    }
}

/// Writes `bytes` to a new file, fsyncs it and renames it over `path`, so that a crash leaves the old or the new one.
pub(super) fn write_aside(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = path.with_extension("tmp");
    let mut file = File::create(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&aside, path)?;
    sync_parent(path)
}

/// Makes the names in the directory of `path` durable.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_names(Path::new(".")),
        Some(parent) => sync_names(parent),
        None => Ok(()),
    }
}

/// Makes the names in `folder` durable.
pub(super) fn sync_names(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes `folder`, and what is missing above it, durably: fsyncing what lies in it does not keep the folder's own name.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|path| !path.exists()).collect();
    fs::create_dir_all(folder)?;
    for made in missing.iter().skip(1).rev() {
        sync_parent(made)?;
    }
    // The one before may have been killed before it came to this.
    sync_parent(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> ClusterMark {
        ClusterMark { id: ClusterId(uuid::Uuid::from_u128(7)), epoch: Epoch(2) }
    }

    #[test]
    fn an_identity_survives_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        assert_eq!(directory.identity().unwrap(), None);
        for identity in [Identity::new(2, None, false), Identity::new(0, Some(mark()), true)] {
            directory.save(identity).unwrap();
            assert_eq!(directory.identity().unwrap(), Some(identity));
        }
    }

    #[test]
    fn a_damaged_identity_is_refused_with_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        directory.save(Identity::new(1, Some(mark()), true)).unwrap();
        let path = folder.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap().replace("slot=1", "slot=2");
        fs::write(&path, text).unwrap();
        let error = directory.identity().unwrap_err();
        assert_eq!(error.code, Code::Corrupt);
        assert!(!error.hint.is_empty());
    }

    #[test]
    fn a_directory_has_one_owner() {
        let folder = tempfile::tempdir().unwrap();
        let first = Directory::open(folder.path()).unwrap();
        assert_eq!(Directory::open(folder.path()).unwrap_err().code, Code::Busy);
        drop(first);
        Directory::open(folder.path()).unwrap();
    }

    #[test]
    fn node_ids_differ() {
        assert_ne!(Identity::new(0, None, false).node, Identity::new(0, None, false).node);
    }
}
