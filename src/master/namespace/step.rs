//! The entry that is being applied: what it may use, and what comes of it.

use super::outcome::Outcome;
use super::view::MountPoint;
use goosefs_core::error::{Code, Error, Result};
use goosefs_core::id::{ContentId, InodeId, IntentId};
use goosefs_core::proto::internal::{Attr, Change};
use goosefs_core::proto::journal;

/// One entry on its way through the namespace.
pub(super) struct Step<'a> {
    pub(super) index: u64,
    pub(super) now_ms: u64,
    pub(super) entry: &'a journal::Entry,
    /// The effect on the under-storage was carried out: do the rest.
    pub(super) effect_done: bool,
    pub(super) applied: journal::Applied,
    pub(super) changes: Vec<Change>,
}

impl<'a> Step<'a> {
    pub(super) fn new(index: u64, now_ms: u64, entry: &'a journal::Entry) -> Step<'a> {
        Step {
            index,
            now_ms,
            entry,
            effect_done: false,
            applied: journal::Applied::default(),
            changes: Vec::new(),
        }
    }

    pub(super) fn user(&self) -> &'a str {
        self.entry.caller.as_ref().map_or("", |caller| &caller.user)
    }

    pub(super) fn group(&self) -> &'a str {
        self.entry.caller.as_ref().map_or("", |caller| &caller.group)
    }

    /// Refuses writes below a read-only mount; where nothing is mounted the cache takes them. What was done in the
    /// under-storage already is carried through.
    pub(super) fn check_writable(&self, mount: Option<&MountPoint>) -> Result<()> {
        match mount {
            Some(mount) if mount.read_only && !self.effect_done => {
                let text = format!("the mount {} of {} is read-only", mount.path, mount.ufs);
                Err(Error::new(Code::ReadOnly, text))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn answer(&mut self, attr: Attr) {
        self.applied.attr = Some(attr);
    }

    /// `name` in `parent` means something else now; `node` is void unless 0.
    pub(super) fn change(&mut self, parent: InodeId, name: &str, node: u64) {
        let session = self.entry.session_op.map_or(0, |op| op.session);
        self.changes.push(Change { parent: parent.0, name: name.to_owned(), node, session });
    }

    pub(super) fn drop_content(&mut self, content: ContentId) {
        self.applied.dropped_contents.push(content.0);
    }

    pub(super) fn finish(self) -> Outcome {
        Outcome { applied: self.applied, changes: self.changes }
    }
}

pub(super) fn not_found(what: impl std::fmt::Display) -> Error {
    Error::new(Code::NotFound, format!("{what} does not exist"))
}

pub(super) fn held(what: impl std::fmt::Display, intent: IntentId) -> Error {
    Error::new(Code::Busy, format!("{what} is held by the running operation {intent}"))
}

pub(super) fn invalid(what: impl Into<String>) -> Error {
    Error::new(Code::InvalidArgument, what)
}
