//! Carrying out the index's effects, in the order that keeps the store's promises, and the work that comes round
//! every moment.

use super::super::container;
use super::super::index::{DirId, Effects, Input, Removal};
use super::super::record::{HeldRecord, Key};
use super::{Counts, Dir, Gone, Store};
use crate::id::{BlockId, ContainerId, ContentId};
use crate::{Code, Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::sync::atomic::Ordering;

/// More files than this that are due for a flush share one flush of the whole file system.
const SINGLE_SYNCS: usize = 16;

impl Store {
    /// Does what `effects` say: held log, mirror, flush, and only then bytes leave the disk. Blocks when there is
    /// something to write or to remove.
    pub(in crate::block) fn carry_out(&self, effects: Effects) -> Result<()> {
        self.append_held(effects.held)?;
        let mut concerned = BTreeSet::new();
        for (dir, key) in effects.records {
            self.dir(dir).mirror.mark([key]);
            concerned.insert(dir);
        }
        Counts::add(&self.inner.counts.lost_blocks, effects.lost.len() as u64);
        if effects.removals.is_empty() {
            return Ok(());
        }
        concerned.into_iter().try_for_each(|dir| self.sync_mirror(dir, true))?;
        for removal in effects.removals {
            let still_open = self.remove(&removal);
            self.inner.index.lock().apply(Input::Removed { removal, still_open });
        }
        self.inner.settled.notify_all();
        Ok(())
    }

    fn append_held(&self, records: Vec<(DirId, HeldRecord)>) -> Result<()> {
        let mut by_dir: BTreeMap<DirId, Vec<HeldRecord>> = BTreeMap::new();
        for (dir, record) in records {
            by_dir.entry(dir).or_default().push(record);
        }
        for (dir, records) in by_dir {
            let appended = self.dir(dir).held.lock().append(&records);
            appended.inspect_err(|error| self.trouble(dir, error))?;
        }
        Ok(())
    }

    /// Brings the mirror of `dir` up to date.
    pub(in crate::block) fn sync_mirror(&self, dir: DirId, flush: bool) -> Result<()> {
        let current = |key: Key| self.inner.index.lock().record(dir, key);
        self.dir(dir).mirror.sync(current, flush).inspect_err(|error| self.trouble(dir, error))
    }

    /// Gives bytes back to the disk; answers whether somebody still has the unlinked file open.
    fn remove(&self, removal: &Removal) -> bool {
        let (dir, outcome) = match removal {
            Removal::Punch { dir, block, range, .. } => {
                let file = container::open(&self.dir(*dir).path, block.container());
                (*dir, file.and_then(|file| container::punch(&file, range.clone())).map(|()| false))
            }
            Removal::Unlink { dir, container, truncate, bytes } => {
                (*dir, self.unlink(self.dir(*dir), *container, *truncate, *bytes))
            }
        };
        outcome.unwrap_or_else(|cause| {
            if cause.kind() != io::ErrorKind::NotFound {
                self.trouble(dir, &Error::io("remove cached bytes", cause));
            }
            false
        })
    }

    fn unlink(&self, dir: &Dir, id: ContainerId, truncate: bool, bytes: u64) -> io::Result<bool> {
        let file = container::open(&dir.path, id)?;
        if truncate {
            file.set_len(0)?;
        }
        fs::remove_file(container::path(&dir.path, id))?;
        let still_open = !truncate && container::open_elsewhere(&file);
        if still_open {
            dir.gone.lock().push(Gone { file, bytes });
        }
        Ok(still_open)
    }

    /// Writing to `dir` failed. Where the disk is at fault, the directory is taken out: it takes nothing new, and what
    /// is in it is served as long as it can be read.
    pub(in crate::block) fn trouble(&self, dir: DirId, error: &Error) {
        if !disk_at_fault(error) || self.dir(dir).failed.swap(true, Ordering::AcqRel) {
            return;
        }
        Counts::add(&self.inner.counts.failed_dirs, 1);
        let path = self.dir(dir).path.display();
        tracing::error!(dir = %path, %error, "a tier directory failed and takes no more blocks");
    }

    /// What comes round every moment: writes the mirror, counts unlinked files whose last holder is gone, flushes
    /// complete files. Blocks.
    pub fn tick(&self) {
        for dir in self.inner.dirs.iter().filter(|dir| !dir.is_failed()) {
            let _taken_out_if_it_failed = self.sync_mirror(dir.id, false);
            self.forget_closed(dir);
            self.rewrite_held(dir);
        }
        self.sync_complete_files();
    }

    /// Counts unlinked files whose last holder is gone.
    pub(super) fn forget_closed(&self, dir: &Dir) {
        let mut closed = 0;
        dir.gone.lock().retain(|gone| {
            let open = container::open_elsewhere(&gone.file);
            closed += if open { 0 } else { gone.bytes };
            open
        });
        if closed > 0 {
            self.inner.index.lock().apply(Input::Closed { dir: dir.id, bytes: closed });
        }
    }

    fn rewrite_held(&self, dir: &Dir) {
        let mut held = dir.held.lock();
        if held.wants_rewrite() {
            let records = self.inner.index.lock().held_records(dir.id);
            if let Err(error) = held.rewrite(&records) {
                drop(held);
                self.trouble(dir.id, &error);
            }
        }
    }

    /// The content may be complete now: its file is to be flushed after it has rested.
    pub(in crate::block) fn sync_later(&self, container: ContainerId) {
        let mut waiting = self.inner.unsynced.lock();
        if waiting.back().is_none_or(|(last, _)| *last != container) {
            waiting.push_back((container, self.now_ms()));
        }
    }

    fn sync_complete_files(&self) {
        let rested = self.now_ms().saturating_sub(self.inner.sync_after.as_millis() as u64);
        let mut due = Vec::new();
        {
            let mut waiting = self.inner.unsynced.lock();
            while waiting.front().is_some_and(|(_, since)| *since <= rested) {
                due.extend(waiting.pop_front().map(|(container, _)| container));
            }
        }
        let mut by_dir: BTreeMap<DirId, Vec<_>> = BTreeMap::new();
        for container in due {
            if let Some((dir, incarnation)) = self.inner.index.lock().whole_unsynced(container) {
                by_dir.entry(dir).or_default().push((container, incarnation));
            }
        }
        for (dir, containers) in by_dir {
            let ids: Vec<ContainerId> = containers.iter().map(|(id, _)| *id).collect();
            if let Err(cause) = sync_files(self.dir(dir), &ids) {
                self.trouble(dir, &Error::io("flush cached files", cause));
                continue;
            }
            for (container, incarnation) in containers {
                let effects = self.inner.index.lock().apply(Input::Synced { container, incarnation, dir });
                let _taken_out_if_it_failed = self.carry_out(effects);
            }
        }
    }

    /// The under-storage has this generation of the content: its blocks may be evicted from now on. Blocks.
    pub fn persisted(&self, content: ContentId, generation: u64) -> Result<()> {
        let input = Input::Persisted { container: content.container(), generation };
        let effects = self.inner.index.lock().apply(input);
        self.carry_out(effects)
    }

    /// Drops what is cached of a content, only copies too if `unpersisted_too`. Whoever has it open keeps its bytes.
    /// Answers with the bytes freed. Blocks.
    pub fn drop_content(&self, content: ContentId, unpersisted_too: bool) -> Result<u64> {
        self.drop_older(content, None, unpersisted_too, false)
    }

    /// The content was truncated: what is here of generations before `generation` is void, and whoever has it open
    /// sees it empty. Blocks.
    pub fn truncated(&self, content: ContentId, generation: u64) -> Result<u64> {
        self.drop_older(content, Some(generation), true, true)
    }

    fn drop_older(
        &self,
        content: ContentId,
        older_than: Option<u64>,
        unpersisted_too: bool,
        truncate: bool,
    ) -> Result<u64> {
        let input = Input::Drop { container: content.container(), older_than, unpersisted_too, truncate };
        let effects = self.inner.index.lock().apply(input);
        let freed = effects.freed;
        self.carry_out(effects)?;
        Ok(freed)
    }

    /// Drops one block if it may go. Answers whether nothing of it is here now. Blocks.
    pub fn drop_block(&self, block: BlockId) -> Result<bool> {
        let units = vec![super::super::evict::Unit::Block(block)];
        let effects = self.inner.index.lock().apply(Input::Evict { units });
        self.carry_out(effects)?;
        Ok(self.block_bytes(block) == 0)
    }

    /// Stops in order: flushes files and index, so that the next start trusts them. Nothing may use the store after
    /// this. Blocks.
    pub fn close(&self) -> Result<()> {
        for dir in self.inner.dirs.iter().filter(|dir| !dir.is_failed()) {
            self.note_accesses(dir.id);
            self.sync_mirror(dir.id, true)?;
            sync_file_system(dir)
                .map_err(|cause| Error::io(format_args!("flush {}", dir.path.display()), cause))?;
            dir.mirror.mark_clean()?;
        }
        Ok(())
    }

    fn note_accesses(&self, dir: DirId) {
        let stale = self.inner.index.lock().unrecorded_accesses(dir);
        self.dir(dir).mirror.mark(stale.into_iter().map(Key::Block));
    }
}

/// Whether `error` speaks of a broken disk; a lack of descriptors, memory or space does not.
fn disk_at_fault(error: &Error) -> bool {
    let cause = error.source.as_ref().and_then(|source| source.downcast_ref::<io::Error>());
    match cause.and_then(io::Error::raw_os_error) {
        Some(errno) => [libc::EIO, libc::EROFS, libc::ENXIO, libc::ENODEV, libc::EUCLEAN].contains(&errno),
        None => error.code == Code::Io,
    }
}

fn sync_files(dir: &Dir, containers: &[ContainerId]) -> io::Result<()> {
    if containers.len() > SINGLE_SYNCS {
        return sync_file_system(dir);
    }
    for id in containers {
        match container::open_read_only(&dir.path, *id) {
            Ok(file) => file.sync_data()?,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(())
}

fn sync_file_system(dir: &Dir) -> io::Result<()> {
    Ok(nix::unistd::syncfs(fs::File::open(&dir.path)?)?)
}
