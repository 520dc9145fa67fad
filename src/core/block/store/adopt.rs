//! What another cluster's mark means: cached blocks of another cluster or epoch are dropped, unpersisted ones are put
//! aside where a person can find them.
//!
//! The quarantine is `<dir>/quarantine/<cluster>-<epoch>/<container number>`, each file with its records beside it. Its
//! bytes count in the quota until somebody removes them.

use super::super::container;
use super::super::identity::{Identity, Mark};
use super::super::index::{DirId, Input};
use super::super::mirror::Mirror;
use super::super::record::HeldRecord;
use super::Store;
use crate::id::{BlockId, ContainerId};
use crate::{Error, Result};
use prost::Message;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const FOLDER: &str = "quarantine";

/// What became of the blocks of another cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Adopted {
    /// Bytes of cached blocks that were dropped.
    pub dropped: u64,
    /// Files with unpersisted blocks that were put aside.
    pub quarantined: Vec<PathBuf>,
}

impl Store {
    /// From now on the directories belong to the cluster `mark`. The first mark is just taken; another one than before
    /// empties them. Blocks.
    pub fn adopt(&self, mark: Mark) -> Result<Adopted> {
        let mut identity = self.inner.identity.write();
        if identity.mark == Some(mark) {
            return Ok(Adopted::default());
        }
        let all: Vec<DirId> = self.inner.dirs.iter().map(|dir| dir.id).collect();
        let adopted = match identity.mark {
            None => Adopted::default(),
            Some(_) => self.empty(&all, *identity)?,
        };
        identity.mark = Some(mark);
        self.inner
            .dirs
            .iter()
            .filter(|dir| !dir.is_failed())
            .try_for_each(|dir| identity.write(&dir.path))?;
        Ok(adopted)
    }

    /// Empties directories whose blocks belong to `owner`.
    fn empty(&self, dirs: &[DirId], owner: Identity) -> Result<Adopted> {
        let mut adopted = Adopted::default();
        for dir in dirs.iter().map(|dir| self.dir(*dir)).filter(|dir| !dir.is_failed()) {
            let mine: Vec<ContainerId> = {
                let index = self.inner.index.lock();
                index.ids().filter(|id| index.holds(*id, dir.id)).collect()
            };
            for id in mine {
                let records = self.inner.index.lock().held_records_of(dir.id, id);
                put_aside(&dir.path, id, &records, owner, &mut adopted)?;
                let input =
                    Input::Drop { container: id, older_than: None, unpersisted_too: true, truncate: false };
                let effects = self.inner.index.lock().apply(input);
                adopted.dropped += effects.freed;
                self.carry_out(effects)?;
            }
            self.inner.index.lock().quota_mut(dir.id).quarantined = quarantined_bytes(&dir.path);
        }
        Ok(adopted)
    }
}

/// Empties a directory that another worker left, before any of it is taken in: what its records say must not shadow
/// ours, since the same contents may be in both.
pub(super) fn empty_foreign(
    dir: &Path,
    owner: Identity,
    mirror: &Mirror,
    held: &BTreeMap<BlockId, HeldRecord>,
) -> Result<Adopted> {
    let mut adopted = Adopted::default();
    let files =
        container::list(dir).map_err(|cause| Error::io(format_args!("list {}", dir.display()), cause))?;
    for id in files {
        let records: Vec<HeldRecord> = held
            .iter()
            .filter(|(block, _)| block.container() == id)
            .map(|(_, record)| record.clone())
            .collect();
        put_aside(dir, id, &records, owner, &mut adopted)?;
    }
    mirror.clear()?;
    for id in
        container::list(dir).map_err(|cause| Error::io(format_args!("list {}", dir.display()), cause))?
    {
        let path = container::path(dir, id);
        adopted.dropped += path.metadata().map_or(0, |metadata| metadata.blocks() * 512);
        fs::remove_file(&path)
            .map_err(|cause| Error::io(format_args!("remove {}", path.display()), cause))?;
    }
    Ok(adopted)
}

/// Keeps the file of `id` under another name if `records` say that it has only copies.
fn put_aside(
    dir: &Path,
    id: ContainerId,
    records: &[HeldRecord],
    owner: Identity,
    adopted: &mut Adopted,
) -> Result<()> {
    if records.is_empty() {
        return Ok(());
    }
    let folder = dir.join(FOLDER).join(folder_name(owner.mark));
    let (file, beside) = (folder.join(id.0.to_string()), folder.join(format!("{}.records", id.0)));
    let described: Vec<u8> = records.iter().flat_map(Message::encode_length_delimited_to_vec).collect();
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(beside, described))
        .and_then(|()| link(&container::path(dir, id), &file))
        .map_err(|cause| Error::io(format_args!("put aside {}", file.display()), cause))?;
    adopted.quarantined.push(file);
    Ok(())
}

/// A second name for a file; one that an interrupted attempt left is replaced.
fn link(from: &Path, to: &Path) -> std::io::Result<()> {
    match fs::remove_file(to) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(cause),
        Ok(()) | Err(_) => fs::hard_link(from, to),
    }
}

fn folder_name(mark: Option<Mark>) -> String {
    mark.map_or_else(|| "unknown".to_owned(), |mark| format!("{}-{}", mark.cluster, mark.epoch))
}

/// Disk space of what was put aside below `dir`.
pub(super) fn quarantined_bytes(dir: &Path) -> u64 {
    let folders = fs::read_dir(dir.join(FOLDER)).into_iter().flatten().flatten();
    let files = folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten());
    files.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.blocks() * 512).sum()
}
