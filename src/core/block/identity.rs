//! Whose a tier directory is: which worker's, of which cluster and epoch.
//!
//! The file `identity` holds it as `key=value` lines, written aside and renamed; the file `lock` is held as long as
//! the store is open, so that two workers never share a directory. What follows from a foreign identity (cached blocks
//! dropped, unpersisted ones quarantined) is done by the store.

use crate::id::{ClusterId, Epoch, WorkerId};
use crate::{Code, Error, Result};
use nix::fcntl::{Flock, FlockArg};
use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

const FILE: &str = "identity";

/// The cluster a directory, a handshake or a lease belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Mark {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its epoch.
    pub epoch: Epoch,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} epoch {}", self.cluster, self.epoch)
    }
}

/// What the identity file says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The worker.
    pub worker: WorkerId,
    /// Its cluster; none before the first master answered.
    pub mark: Option<Mark>,
}

impl Identity {
    /// A worker that never was.
    #[must_use]
    pub fn random() -> Identity {
        Identity { worker: WorkerId(rand::random_range(1..1 << 63)), mark: None }
    }

    /// What `dir` says; `None` when it is new.
    pub fn read(dir: &Path) -> Result<Option<Identity>> {
        let path = dir.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(Error::io(format_args!("read {}", path.display()), cause)),
        };
        let damaged = || {
            Error::new(Code::Corrupt, format!("{} is not an identity file", path.display()))
                .hint("remove the directory if nothing unpersisted is in it; the cache fills again")
        };
        parse(&text).ok_or_else(damaged).map(Some)
    }

    /// Makes `dir` say this, durably.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let (path, aside) = (dir.join(FILE), dir.join(".identity.new"));
        let replace = || -> std::io::Result<()> {
            let mut file = File::create(&aside)?;
            file.write_all(self.text().as_bytes())?;
            file.sync_all()?;
            fs::rename(&aside, &path)?;
            File::open(dir)?.sync_all()
        };
        replace().map_err(|cause| Error::io(format_args!("write {}", path.display()), cause))
    }

    fn text(&self) -> String {
        let mut text = format!("worker={}\n", self.worker);
        if let Some(mark) = self.mark {
            text += &format!("cluster={}\nepoch={}\n", mark.cluster, mark.epoch);
        }
        text
    }
}

fn parse(text: &str) -> Option<Identity> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let worker = WorkerId(value("worker")?.parse().ok().filter(|id| (1..1 << 63).contains(id))?);
    let mark = match value("cluster") {
        None => None,
        Some(cluster) => Some(Mark {
            cluster: ClusterId(cluster.parse().ok()?),
            epoch: Epoch(value("epoch")?.parse().ok()?),
        }),
    };
    Some(Identity { worker, mark })
}

/// Takes `dir` for this process; held until the guard is dropped.
pub fn lock(dir: &Path) -> Result<Flock<File>> {
    let path = dir.join("lock");
    let file =
        File::create(&path).map_err(|cause| Error::io(format_args!("create {}", path.display()), cause))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
        if errno == nix::errno::Errno::EAGAIN {
            return Error::new(
                Code::Busy,
                format!("the tier directory {} is used by another worker", dir.display()),
            )
            .hint("give every worker directories of its own");
        }
        Error::io(format_args!("lock {}", path.display()), errno.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_reads_back_and_a_damaged_one_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Identity::read(dir.path()).unwrap(), None);
        let mut identity = Identity::random();
        identity.write(dir.path()).unwrap();
        assert_eq!(Identity::read(dir.path()).unwrap(), Some(identity));
        identity.mark = Some(Mark { cluster: ClusterId(uuid::Uuid::from_u128(7)), epoch: Epoch(3) });
        identity.write(dir.path()).unwrap();
        assert_eq!(Identity::read(dir.path()).unwrap(), Some(identity));
        fs::write(dir.path().join(FILE), "worker=0\n").unwrap();
        assert_eq!(Identity::read(dir.path()).unwrap_err().code, Code::Corrupt);
    }

    #[test]
    fn a_directory_has_one_worker_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        assert_eq!(lock(dir.path()).unwrap_err().code, Code::Busy);
        drop(held);
        lock(dir.path()).unwrap();
    }
}
