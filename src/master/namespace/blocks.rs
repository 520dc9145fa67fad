//! The bytes of a file: blocks that workers took, the end of writing, truncation, loss.

use super::Namespace;
use super::create::set_writer;
use super::inode::{Block, File, Inode, UfsObject};
use super::step::{Step, invalid};
use goosefs_core::error::{Code, Error, Result};
use goosefs_core::id::{BlockId, ContentId, InodeId, WorkerId, max_file_len};
use goosefs_core::proto::internal::{Fingerprint, Persistence};
use goosefs_core::proto::journal::{CommitBlock, CompleteFile, DeclareLost, Truncate};

impl Namespace {
    pub(super) fn commit_block(&mut self, step: &mut Step, command: &CommitBlock) -> Result<()> {
        let block = BlockId(command.block);
        if ContentId::from_raw(command.block).is_some() || command.worker == 0 {
            return Err(invalid(format!("{block} is no block id, or {} no worker id", command.worker)));
        }
        let id = self.inode_of_content(block.content())?;
        let file = self.file_node(id)?.1;
        if command.generation != 0 && command.generation != u64::from(file.generation) {
            let text = format!("block {block} was written before its file was truncated");
            return Err(Error::new(Code::Stale, text));
        }
        if command.length == 0 || command.length > file.block_size {
            let text =
                format!("block {block} has {} bytes, blocks have up to {}", command.length, file.block_size);
            return Err(invalid(text));
        }
        let start = block.index().saturating_mul(file.block_size);
        let end = start.saturating_add(command.length);
        if end > max_file_len(file.block_size) {
            return Err(invalid(format!("block {block} ends behind the longest possible file")));
        }
        if file.completed {
            if file.persisted() {
                // The only copy is no longer one: nothing to keep.
                return Ok(());
            }
            if end > file.length {
                let text = format!("block {block} ends at {end}, its finished file at {}", file.length);
                return Err(invalid(text));
            }
        }
        let (now_ms, worker) = (step.now_ms, WorkerId(command.worker));
        self.edit(id, |inode| {
            take_block(inode, block.index(), command.length, worker);
            grow(inode, end, now_ms);
        });
        Ok(())
    }

    pub(super) fn complete_file(&mut self, step: &mut Step, command: &CompleteFile) -> Result<()> {
        let content = content_of(command.content)?;
        let id = self.inode_of_content(content)?;
        self.check_free(id)?;
        let (inode, file) = self.file_node(id)?;
        if command.length > max_file_len(file.block_size) {
            let text = format!("{} bytes do not fit blocks of {}", command.length, file.block_size);
            return Err(invalid(text));
        }
        if let Some(fingerprint) = &command.persisted
            && fingerprint.length != command.length
        {
            let text = format!("the object has {} bytes, the file {}", fingerprint.length, command.length);
            return Err(invalid(text));
        }
        if file.completed && file.length != command.length {
            let text = format!("{} is complete with {} bytes", self.describe(id), file.length);
            return Err(invalid(text));
        }
        let persisted = command.persisted.is_some() || (file.persisted() && file.length == command.length);
        if !persisted {
            self.check_blocks(id, inode, command.length)?;
        }
        self.finish_writing(step, id, command);
        step.answer(self.attr_of(id)?);
        Ok(())
    }

    fn finish_writing(&mut self, step: &mut Step, id: InodeId, command: &CompleteFile) {
        let now_ms = step.now_ms;
        self.edit(id, |inode| {
            if !inode.file().is_some_and(|file| file.completed) {
                inode.written(now_ms);
                inode.forget_mtime_set();
            }
            set_length(inode, command.length);
            if let Some(file) = inode.file_mut() {
                file.completed = true;
                if !file.persisted() {
                    let waiting = file.waiting_state();
                    file.set_unpersisted(waiting);
                }
            }
            inode.forget_writer();
            if let (Some(kind), Some(value)) = (command.checksum_type, command.checksum) {
                inode.rare_mut().checksum = Some((kind, value));
            }
        });
        match &command.persisted {
            Some(fingerprint) => self.mark_persisted(step, id, fingerprint),
            None => self.drop_needless_blocks(id),
        }
        self.tell(step, id);
    }

    pub(super) fn truncate(&mut self, step: &mut Step, command: &Truncate) -> Result<()> {
        let content = content_of(command.content)?;
        let id = self.inode_of_content(content)?;
        self.check_free(id)?;
        let (inode, file) = self.file_node(id)?;
        step.check_writable(self.mount_of(inode.mount))?;
        if file.generation == u32::MAX {
            return Err(invalid(format!("{} was truncated too often", self.describe(id))));
        }
        let now_ms = step.now_ms;
        self.edit(id, |inode| {
            inode.drop_blocks();
            inode.forget_checksum();
            inode.forget_mtime_set();
            inode.forget_writer();
            set_writer(inode, step);
            inode.mtime_ms = now_ms;
            inode.ctime_ms = now_ms;
            if let Some(file) = inode.file_mut() {
                file.generation += 1;
                file.length = 0;
                file.completed = false;
                file.set_unpersisted(Persistence::NotPersisted);
            }
        });
        step.drop_content(content);
        self.tell(step, id);
        step.answer(self.attr_of(id)?);
        Ok(())
    }

    pub(super) fn declare_lost(&mut self, step: &mut Step, command: &DeclareLost) -> Result<()> {
        for raw in &command.contents {
            content_of(*raw)?;
        }
        for raw in &command.contents {
            // Persisted, removed or replaced meanwhile: not lost.
            let Ok(id) = self.inode_of_content(ContentId(*raw)) else { continue };
            if self.file_node(id).is_ok_and(|(_, file)| !file.persisted()) {
                self.edit(id, |inode| {
                    inode.drop_blocks();
                    if let Some(file) = inode.file_mut() {
                        file.set_unpersisted(Persistence::Lost);
                    }
                });
                self.tell(step, id);
            }
        }
        Ok(())
    }

    /// The bytes of a file are an object of the under-storage: only copies are only copies no more.
    pub(super) fn mark_persisted(&mut self, step: &mut Step, id: InodeId, fingerprint: &Fingerprint) {
        let now_ms = step.now_ms;
        self.edit(id, |inode| {
            inode.object = UfsObject::Present;
            if let Some(file) = inode.file_mut() {
                file.set_persisted(fingerprint, now_ms);
            }
        });
        self.drop_needless_blocks(id);
        let Some(inode) = self.inodes.get(id) else { return };
        let (parent, name) = (inode.parent, inode.name.clone());
        self.raise_directories(parent, UfsObject::Present);
        self.touch(step, parent, name.as_str());
    }

    /// While a file is being written its earlier blocks are needed for the next upload, persisted or not.
    fn drop_needless_blocks(&mut self, id: InodeId) {
        self.edit(id, |inode| {
            if inode.file().is_some_and(|file| file.completed && file.persisted()) {
                inode.drop_blocks();
            }
        });
    }

    /// Clients are to forget what they know of a node.
    pub(super) fn tell(&self, step: &mut Step, id: InodeId) {
        if let Some(inode) = self.inodes.get(id) {
            step.change(inode.parent, inode.name.as_str(), super::tree::inode_node(id, Some(inode)));
        }
    }

    pub(super) fn file_node(&self, id: InodeId) -> Result<(&Inode, &File)> {
        let inode = self.node(id)?;
        match inode.file() {
            Some(file) => Ok((inode, file)),
            None if inode.directory().is_some() => {
                Err(Error::new(Code::IsDirectory, format!("{} is a directory", self.describe(id))))
            }
            None => Err(invalid(format!("{} is a symlink", self.describe(id)))),
        }
    }

    /// Refuses when some block of the first `length` bytes was taken by nobody.
    pub(super) fn check_blocks(&self, id: InodeId, inode: &Inode, length: u64) -> Result<()> {
        let Some(file) = inode.file() else { return Ok(()) };
        let mut next = 0;
        let mut covered = 0;
        for (index, block) in inode.blocks() {
            let start = index * file.block_size;
            if index != next || covered >= length {
                break;
            }
            let wanted = file.block_size.min(length - start);
            if block.workers.is_empty() || block.length < wanted {
                break;
            }
            covered = start + wanted;
            next += 1;
        }
        if covered >= length {
            return Ok(());
        }
        let text = format!(
            "{} is incomplete: no worker has committed byte {covered} of {length} (block {next})",
            self.describe(id)
        );
        Err(Error::new(Code::Incomplete, text).hint("write the block again"))
    }
}

/// A content id as commands carry it.
pub(super) fn content_of(raw: u64) -> Result<ContentId> {
    ContentId::from_raw(raw).ok_or_else(|| invalid(format!("{raw} is no content id")))
}

fn take_block(inode: &mut Inode, index: u64, length: u64, worker: WorkerId) {
    let block = inode.extra_mut().blocks.entry(index);
    if length < block.length {
        // A late retry: the block has grown since.
        return;
    }
    // Who has the shorter block does not have this one.
    if length > block.length {
        *block = Block { length, workers: Vec::new() };
    }
    if let Err(at) = block.workers.binary_search(&worker) {
        block.workers.insert(at, worker);
        block.workers.shrink_to_fit();
    }
}

/// A block that ends at `end` was taken: the file is at least so long, and what is persisted of it is not all.
fn grow(inode: &mut Inode, end: u64, now_ms: u64) {
    let healed = heals(inode);
    let Some(file) = inode.file_mut() else { return };
    if !file.completed {
        file.length = file.length.max(end);
        file.set_unpersisted(Persistence::NotPersisted);
        inode.written(now_ms);
    } else if healed {
        let waiting = file.waiting_state();
        file.set_unpersisted(waiting);
    }
}

/// A lost file whose holders came back after all.
fn heals(inode: &Inode) -> bool {
    inode.file().is_some_and(|file| {
        file.persistence == Persistence::Lost && inode.blocks().count() as u64 >= file.block_count()
    })
}

fn set_length(inode: &mut Inode, length: u64) {
    let Some(file) = inode.file_mut() else { return };
    if file.length != length {
        file.length = length;
        file.set_unpersisted(Persistence::NotPersisted);
    }
    let blocks = file.block_count();
    if let Some(extra) = &mut inode.extra {
        extra.blocks.cut(&blocks);
    }
    inode.trim_extra();
}
