//! Files and directories that another process opened, before it died or handed the mount over.
//!
//! Reading goes on as if nothing had happened. What that process was writing is known to nobody: such a file fails at the
//! next write, flush or fsync, so that no program takes lost bytes for written ones.

use super::dir::DirHandle;
use super::open::Handle;
use super::{Fs, Who};
use crate::handle::modes::Way;
use crate::handle::{Backing, Lease};
use crate::park::table::Table;
use goosefs_core::proto::internal::{OpenRecord, open_record};
use goosefs_core::{Code, Error};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The lease of a process that is gone: its worker honours it no more, but the kernel holds the file.
struct Ended;

impl Lease for Ended {
    fn is_alive(&self) -> bool {
        false
    }
}

impl Fs {
    /// Every open from now on is remembered in `table`. `first` is the number of the first handle: none that an earlier
    /// process gave away is given again.
    pub(crate) fn remember_opens(&self, table: Arc<Table>, first: u64) {
        self.next_handle.store(first, Ordering::Relaxed);
        // It is set once, before anything is opened.
        drop(self.table.set(table));
    }

    /// Goes on with what another process had open; returns the numbers of backing files that are in use.
    pub(crate) fn adopt(&self, open: &[OpenRecord]) -> BTreeSet<u32> {
        let mut backings: HashMap<u32, Arc<Backing>> = HashMap::new();
        for record in open {
            if record.request != 0 {
                self.adopted.lock().insert(record.request, record.handle);
            }
            if record.directory {
                match DirHandle::new(record.node) {
                    Ok(dir) => drop(self.dirs.write().insert(record.handle, Arc::new(dir))),
                    Err(error) => tracing::warn!(%error, "an open directory is lost"),
                }
                continue;
            }
            let Some(attr) = record.attr.clone() else { continue };
            let mut backing = || {
                let new = || {
                    let (kernel, lease) = (self.kernel.clone(), Box::new(Ended));
                    Backing::new(record.backing, record.generation, record.length, kernel, lease)
                };
                Arc::clone(backings.entry(record.backing).or_insert_with(new))
            };
            let way = match record.way() {
                open_record::Way::Cached => Way::Cached,
                open_record::Way::Direct => Way::Direct,
                open_record::Way::Passthrough => Way::Passthrough(backing()),
                open_record::Way::Through => Way::Through(backing()),
            };
            self.opens.lock().modes.adopt(record.node, &way);
            let who = Who { uid: record.uid, gid: record.gid, pid: 0, request: record.request };
            let handle = Handle::adopted(record.node, attr, way, who, record.writing);
            self.handles.write().insert(record.handle, Arc::new(handle));
            self.metrics.handles.inc();
        }
        backings.into_keys().collect()
    }

    /// The kernel makes this request again: what the process before opened for it was never answered, and nobody will close
    /// that. Left open, it would decide how the file may be opened for as long as the mount lives.
    pub(crate) fn asked_again(&self, request: u64) {
        let Some(number) = self.adopted.lock().remove(&request) else { return };
        match self.take_handle(number) {
            Ok(handle) => self.closed(handle.node(), handle.way()),
            Err(_) => self.take_dir(number),
        }
    }

    /// Remembers a file that is about to be open.
    pub(super) fn note_open(&self, number: u64, handle: &Handle) {
        let Some(table) = self.table.get() else { return };
        let (way, backing) = match handle.way() {
            Way::Cached => (open_record::Way::Cached, None),
            Way::Direct => (open_record::Way::Direct, None),
            Way::Passthrough(backing) => (open_record::Way::Passthrough, Some(backing)),
            Way::Through(backing) => (open_record::Way::Through, Some(backing)),
        };
        table.opened(&OpenRecord {
            handle: number,
            directory: false,
            node: handle.node(),
            attr: Some(handle.attr().clone()),
            way: way.into(),
            backing: backing.map_or(0, |backing| backing.id()),
            generation: backing.map_or(0, |backing| backing.generation()),
            length: backing.map_or(0, |backing| backing.length()),
            writing: handle.writing.is_some() || handle.is_lost(),
            uid: handle.who.uid,
            gid: handle.who.gid,
            request: handle.who.request,
        });
    }

    /// Remembers a directory that is about to be open.
    pub(super) fn note_open_dir(&self, number: u64, who: Who, node: u64) {
        if let Some(table) = self.table.get() {
            let request = who.request;
            table.opened(&OpenRecord {
                handle: number,
                directory: true,
                node,
                request,
                ..OpenRecord::default()
            });
        }
    }

    /// Forgets what was closed.
    pub(super) fn note_closed(&self, number: u64) {
        if let Some(table) = self.table.get() {
            table.closed(number);
        }
    }
}

/// Another process was writing it.
pub(super) fn lost(node: u64) -> Error {
    let text =
        format!("the process that was writing node {node} has died: what it wrote last may be missing");
    Error::new(Code::Io, text).hint("write the file again")
}
