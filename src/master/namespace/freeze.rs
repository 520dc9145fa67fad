//! Images: taken in (nearly) constant time, written later in bounded memory, read back to the same state.

use super::Namespace;
use super::intent::Running;
use super::pages::Table;
use super::session::Answers;
use super::view::{MountPoint, RegisteredWorker};
use super::{encode, identity::Identity};
use goosefs_core::id::{IntentId, MountId, WorkerId};
use goosefs_core::proto::image::{End, Head, Record, record};
use goosefs_core::proto::internal::Preload;
use goosefs_core::raft::{ClusterMark, Frozen};
use prost::Message;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

/// Version of the format that is written, and the highest that is read.
pub(super) const VERSION: u32 = 1;

/// Bytes that are gathered before they are handed on.
const BUFFER: usize = 64 * 1024;

/// The state at one moment. Its parts are shared with the namespace until those change.
struct Image {
    last_index: u64,
    now_ms: u64,
    steady_ms: u64,
    mark: Option<ClusterMark>,
    next_container: u64,
    next_mount: u64,
    identities: Arc<Vec<Arc<Identity>>>,
    mounts: BTreeMap<MountId, Arc<MountPoint>>,
    workers: BTreeMap<WorkerId, Arc<RegisteredWorker>>,
    inodes: Table,
    answers: Answers,
    intents: BTreeMap<IntentId, Arc<Running>>,
    preloads: BTreeMap<u64, Arc<Preload>>,
}

impl Namespace {
    /// A point-in-time image, in (nearly) constant time: one pointer per 16,384 inodes, session and 512 vendor
    /// operations is copied. Written in bounded memory; the same state gives the same bytes.
    #[must_use]
    pub fn freeze(&self) -> Box<dyn Frozen> {
        Box::new(Image {
            last_index: self.last_index,
            now_ms: self.now_ms,
            steady_ms: self.steady_ms,
            mark: self.mark,
            next_container: self.next_container,
            next_mount: self.next_mount,
            identities: self.identities.share(),
            mounts: self.mounts.clone(),
            workers: self.workers.clone(),
            inodes: self.inodes.clone(),
            answers: self.answers.clone(),
            intents: self.intents.clone(),
            preloads: self.preloads.clone(),
        })
    }
}

impl Frozen for Image {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut records = Records { out, buffer: Vec::with_capacity(2 * BUFFER), count: 0 };
        records.put(record::Record::Head(self.head()))?;
        for identity in self.identities.iter() {
            records.put(record::Record::Identity(encode::identity(identity)))?;
        }
        for mount in self.mounts.values() {
            records.put(record::Record::Mount(encode::mount(mount)))?;
        }
        for worker in self.workers.values() {
            records.put(record::Record::Worker(encode::worker(worker)))?;
        }
        for (id, inode) in self.inodes.iter() {
            records.put(record::Record::Inode(encode::inode(id, inode)))?;
        }
        for (number, session) in &self.answers.sessions {
            records.put(record::Record::Session(encode::session(*number, session)))?;
        }
        for answer in self.answers.vendor() {
            records.put(record::Record::VendorAnswer(encode::vendor_answer(answer)))?;
        }
        for running in self.intents.values() {
            records.put(record::Record::Intent(encode::running(running)))?;
        }
        for preload in self.preloads.values() {
            records.put(record::Record::Preload(preload.as_ref().clone()))?;
        }
        let end = End { records: records.count };
        records.put(record::Record::End(end))?;
        records.flush()
    }

    fn records(&self) -> u64 {
        let few = self.identities.len() + self.mounts.len() + self.workers.len() + self.intents.len();
        let few = few + self.preloads.len();
        let answers = self.answers.sessions.len() + self.answers.vendor().count();
        // Head and end.
        2 + self.inodes.len() + (few + answers) as u64
    }
}

impl Image {
    fn head(&self) -> Head {
        Head {
            version: VERSION,
            last_index: self.last_index,
            now_ms: self.now_ms,
            mark: self.mark.map(Into::into),
            next_container: self.next_container,
            next_mount: self.next_mount,
            steady_ms: self.steady_ms,
        }
    }
}

/// Length-delimited records on their way out.
struct Records<'a> {
    out: &'a mut dyn Write,
    buffer: Vec<u8>,
    count: u64,
}

impl Records<'_> {
    fn put(&mut self, record: record::Record) -> io::Result<()> {
        let record = Record { record: Some(record) };
        record.encode_length_delimited(&mut self.buffer).map_err(io::Error::other)?;
        self.count += 1;
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}
