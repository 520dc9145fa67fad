//! Reading an image back.

use super::freeze::VERSION;
use super::{Namespace, decode};
use goosefs_core::error::{Code, Error, Result};
use goosefs_core::id::InodeId;
use goosefs_core::proto::image::{Head, Record, record};
use goosefs_core::raft::ClusterMark;
use prost::Message;
use std::io::{BufReader, Read};
use std::sync::Arc;

/// Longest record that is believed: a session with all its answers is the largest.
const RECORD_MAX: usize = 256 << 20;

/// Bytes read at a time.
const BUFFER: usize = 256 * 1024;

pub(super) fn corrupt(what: impl std::fmt::Display) -> Error {
    Error::new(Code::Corrupt, format!("image of the namespace: {what}"))
}

impl Namespace {
    /// Reads an image that [`Namespace::freeze`] wrote. Its checksum was verified by the caller.
    ///
    /// # Errors
    /// `Corrupt` when it is no image or ends early, `Unimplemented` when a newer version wrote it.
    pub fn restore(image: &mut dyn Read) -> Result<Namespace> {
        let mut records =
            Records { from: BufReader::with_capacity(BUFFER, image), buffer: Vec::new(), count: 0 };
        let mut namespace = Namespace::blank();
        let mut headed = false;
        loop {
            let before = records.count;
            match records.next()? {
                record::Record::Head(head) => {
                    namespace.take_head(&head)?;
                    headed = true;
                }
                _ if !headed => return Err(corrupt("it does not begin with its head")),
                record::Record::End(end) if end.records == before => break,
                record::Record::End(_) => return Err(corrupt("records are missing")),
                other => namespace.take(other)?,
            }
        }
        namespace.link_all()?;
        Ok(namespace)
    }

    fn take_head(&mut self, head: &Head) -> Result<()> {
        if head.version > VERSION {
            let text = format!("image of the namespace: format {} is newer than {VERSION}", head.version);
            return Err(
                Error::new(Code::Unimplemented, text).hint("start a version of GooseFS that knows it")
            );
        }
        self.last_index = head.last_index;
        self.now_ms = head.now_ms;
        self.steady_ms = if head.steady_ms == 0 { head.now_ms } else { head.steady_ms };
        self.mark = ClusterMark::from_wire(head.mark.as_ref());
        self.next_container = head.next_container;
        self.next_mount = head.next_mount;
        Ok(())
    }

    fn take(&mut self, record: record::Record) -> Result<()> {
        match record {
            record::Record::Identity(identity) => {
                self.identities.intern(&identity.owner, &identity.group, identity.mode);
            }
            record::Record::Mount(mount) => {
                let mount = decode::mount(mount)?;
                self.mounts.insert(mount.id, Arc::new(mount));
            }
            record::Record::Worker(worker) => {
                let worker = decode::worker(worker)?;
                self.workers.insert(worker.id, Arc::new(worker));
            }
            record::Record::Inode(inode) => {
                if inode.identity as usize >= self.identities.len() {
                    return Err(corrupt(format_args!("inode {} has no owner", inode.number)));
                }
                let (id, inode) = decode::inode(inode)?;
                if self.inodes.get(id).is_some() {
                    return Err(corrupt(format_args!("inode {id} is in it twice")));
                }
                self.derived.add(id, &inode);
                self.inodes.insert(id, inode);
            }
            record::Record::Session(session) => {
                let (number, session) = decode::session(session)?;
                self.answers.sessions.insert(number, Arc::new(session));
            }
            record::Record::VendorAnswer(record) => {
                let (op, at_ms, answer) = decode::vendor_answer(record)?;
                self.answers.push_vendor(&op, answer, at_ms, &mut self.vendor_places);
            }
            record::Record::Intent(running) => self.hold(decode::running(running)?),
            record::Record::Preload(preload) => {
                self.preloads.insert(preload.id, Arc::new(preload));
            }
            record::Record::Head(_) | record::Record::End(_) => {
                return Err(corrupt("it has more than one head"));
            }
        }
        Ok(())
    }

    /// Puts every inode into its directory.
    fn link_all(&mut self) -> Result<()> {
        let links: Vec<_> =
            self.inodes.iter().map(|(id, inode)| (id, inode.parent, inode.name.clone())).collect();
        for (id, parent, name) in links {
            if id == InodeId::ROOT {
                continue;
            }
            let directory = self.inodes.get_mut(parent).and_then(|inode| inode.directory_mut());
            let Some(directory) = directory else {
                return Err(corrupt(format_args!("inode {id} lies in {parent}, which is no directory")));
            };
            if directory.children.get(name.as_str()).is_some() {
                return Err(corrupt(format_args!("inode {parent} has two entries {}", name.as_str())));
            }
            directory.children.insert(name, id);
        }
        if self.inodes.get(InodeId::ROOT).is_none() {
            return Err(corrupt("it has no root"));
        }
        Ok(())
    }
}

/// Length-delimited records on their way in.
struct Records<'a> {
    from: BufReader<&'a mut dyn Read>,
    buffer: Vec<u8>,
    count: u64,
}

impl Records<'_> {
    fn next(&mut self) -> Result<record::Record> {
        let length = self.length()?;
        if length > RECORD_MAX {
            return Err(corrupt(format_args!("a record of {length} bytes")));
        }
        self.buffer.resize(length, 0);
        self.from.read_exact(&mut self.buffer).map_err(|e| corrupt("it ends early").caused_by(e))?;
        self.count += 1;
        let record =
            Record::decode(&self.buffer[..]).map_err(|e| corrupt("a record cannot be read").caused_by(e))?;
        record.record.ok_or_else(|| {
            Error::new(
                Code::Unimplemented,
                "image of the namespace: it has a record that this version does not know",
            )
        })
    }

    fn length(&mut self) -> Result<usize> {
        let mut length = 0_u64;
        for shift in (0..63).step_by(7) {
            let mut byte = [0];
            self.from.read_exact(&mut byte).map_err(|e| corrupt("it ends early").caused_by(e))?;
            length |= u64::from(byte[0] & 0x7F) << shift;
            if byte[0] & 0x80 == 0 {
                return usize::try_from(length).map_err(|_| corrupt("a record without end"));
            }
        }
        Err(corrupt("a record without end"))
    }
}
