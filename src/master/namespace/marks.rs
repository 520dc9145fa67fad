//! What is derived from the inodes, so that no read has to look at all of them: counts, and the files that somebody must
//! come back to. Not part of an image; made again by a restore.

use super::inode::{Body, Inode};
use super::numbers::Contents;
use super::view::Counts;
use goosefs_core::id::{ContentId, InodeId};
use std::collections::{BTreeMap, BTreeSet};

/// The derived facts of one inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Marks {
    kind: Kind,
    length: u64,
    /// A content whose id does not tell its inode's.
    replaced: Option<ContentId>,
    unpersisted: Option<ContentId>,
    incomplete: Option<ContentId>,
    expires_ms: Option<u64>,
    pinned: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    File,
    Directory,
    Symlink,
}

impl Marks {
    fn of(id: InodeId, inode: &Inode) -> Marks {
        let mut marks = Marks {
            kind: match &inode.body {
                Body::File(_) => Kind::File,
                Body::Directory(_) => Kind::Directory,
                Body::Symlink(_) => Kind::Symlink,
            },
            length: 0,
            replaced: None,
            unpersisted: None,
            incomplete: None,
            expires_ms: inode.expires_ms(),
            pinned: inode.pinned,
        };
        if let Body::File(file) = &inode.body {
            let content = file.content();
            marks.length = file.length;
            marks.replaced = (file.container != id.container()).then_some(content);
            marks.unpersisted = (!file.persisted()).then_some(content);
            marks.incomplete = (!file.completed).then_some(content);
        }
        marks
    }
}

/// Everything that is derived from all inodes.
#[derive(Default)]
pub(super) struct Derived {
    pub(super) counts: Counts,
    pub(super) replaced: BTreeMap<ContentId, InodeId>,
    pub(super) unpersisted: Contents,
    pub(super) incomplete: Contents,
    pub(super) expiring: BTreeSet<(u64, InodeId)>,
    pub(super) pinned: BTreeSet<InodeId>,
}

impl Derived {
    pub(super) fn add(&mut self, id: InodeId, inode: &Inode) {
        self.enter(id, Marks::of(id, inode));
    }

    pub(super) fn remove(&mut self, id: InodeId, inode: &Inode) {
        self.leave(id, Marks::of(id, inode));
    }

    /// Runs `edit` and follows what it changed.
    pub(super) fn follow<R>(
        &mut self,
        id: InodeId,
        inode: &mut Inode,
        edit: impl FnOnce(&mut Inode) -> R,
    ) -> R {
        let before = Marks::of(id, inode);
        let result = edit(inode);
        let after = Marks::of(id, inode);
        if before != after {
            self.leave(id, before);
            self.enter(id, after);
        }
        result
    }

    fn enter(&mut self, id: InodeId, marks: Marks) {
        *self.count(marks.kind) += 1;
        self.counts.bytes = self.counts.bytes.wrapping_add(marks.length);
        if let Some(content) = marks.replaced {
            self.replaced.insert(content, id);
        }
        if let Some(content) = marks.unpersisted {
            self.unpersisted.insert(content);
        }
        if let Some(content) = marks.incomplete {
            self.incomplete.insert(content);
        }
        self.expiring.extend(marks.expires_ms.map(|at| (at, id)));
        self.pinned.extend(marks.pinned.then_some(id));
    }

    fn leave(&mut self, id: InodeId, marks: Marks) {
        *self.count(marks.kind) -= 1;
        self.counts.bytes = self.counts.bytes.wrapping_sub(marks.length);
        if let Some(content) = marks.replaced {
            self.replaced.remove(&content);
        }
        if let Some(content) = marks.unpersisted {
            self.unpersisted.remove(content);
        }
        if let Some(content) = marks.incomplete {
            self.incomplete.remove(content);
        }
        if let Some(at) = marks.expires_ms {
            self.expiring.remove(&(at, id));
        }
        if marks.pinned {
            self.pinned.remove(&id);
        }
    }

    fn count(&mut self, kind: Kind) -> &mut u64 {
        match kind {
            Kind::File => &mut self.counts.files,
            Kind::Directory => &mut self.counts.directories,
            Kind::Symlink => &mut self.counts.symlinks,
        }
    }
}
