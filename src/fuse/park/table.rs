//! What a mount's process knows and the kernel does not tell again, in a memory file that outlives the process: how the
//! kernel was greeted, and every open file. Each change is one write, made before the kernel hears of it, so that there is
//! no moment at which a killed process leaves half of one.

use goosefs_core::proto::internal::{MountRecord, OpenRecord};
use goosefs_core::{Code, Error, Result};
use nix::sys::memfd::{MFdFlags, memfd_create};
use parking_lot::Mutex;
use prost::Message;
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Begins the file, with the version of its form.
const MARK: [u8; 8] = *b"GFSPARK\x01";

/// Bytes before the first slot: the mark, the highest number of a backing file, how many processes served the mount so
/// far, the mount's record.
const HEAD: u64 = 4096;
const HIGHEST: u64 = 8;
const PROCESSES: u64 = 12;
const MOUNT: u64 = 16;

/// Bytes of one slot; it lies within a page. A record that is longer is left out, and its file is lost with the process.
const SLOT: usize = 1024;

/// The state of one mount.
#[derive(Debug)]
pub(crate) struct Table {
    file: File,
    slots: Mutex<Slots>,
    /// The highest number of a backing file so far.
    highest: AtomicU32,
    /// Processes before this one.
    before: u32,
    /// Whether the kernel sends again what a process read and did not answer.
    resends: AtomicBool,
}

#[derive(Debug, Default)]
struct Slots {
    by_handle: HashMap<u64, u64>,
    free: Vec<u64>,
    end: u64,
}

fn io(what: &str, error: std::io::Error) -> Error {
    Error::io(format!("{what} the state of the mount"), error)
}

impl Table {
    /// An empty one.
    ///
    /// # Errors
    /// When the kernel gives no memory file.
    pub(crate) fn new() -> Result<Table> {
        let file =
            memfd_create("goosefs-mount", MFdFlags::MFD_CLOEXEC).map_err(|error| io("make", error.into()))?;
        let file = File::from(file);
        file.write_all_at(&MARK, 0).map_err(|error| io("write", error))?;
        Ok(Table {
            file,
            slots: Mutex::default(),
            highest: AtomicU32::new(0),
            before: 0,
            resends: AtomicBool::new(false),
        })
    }

    /// The one that a process left, and what was open.
    ///
    /// # Errors
    /// `Corrupt` when it is none, or of another version.
    pub(crate) fn left(file: OwnedFd) -> Result<(Table, MountRecord, Vec<OpenRecord>)> {
        let file = File::from(file);
        let size = file.metadata().map_err(|error| io("read", error))?.len();
        let mut all = vec![0; usize::try_from(size).unwrap_or(0)];
        file.read_exact_at(&mut all, 0).map_err(|error| io("read", error))?;
        let foreign = || Error::new(Code::Corrupt, "the state of the mount is of another version");
        let (head, rest) = all.split_at_checked(usize::try_from(HEAD).unwrap_or(0)).ok_or_else(foreign)?;
        if !head.starts_with(&MARK) {
            return Err(foreign());
        }
        let number = |at: u64| {
            let at = usize::try_from(at).unwrap_or(0);
            head.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
        };
        let (highest, before) = (number(HIGHEST), number(PROCESSES) + 1);
        let mount: MountRecord =
            head.get(usize::try_from(MOUNT).unwrap_or(0)..).and_then(record).ok_or_else(foreign)?;
        let mut slots = Slots::default();
        let mut open = Vec::new();
        for slot in rest.chunks(SLOT) {
            let at = slots.end;
            slots.end += 1;
            match record::<OpenRecord>(slot).filter(|record| record.handle != 0) {
                Some(record) => {
                    slots.by_handle.insert(record.handle, at);
                    open.push(record);
                }
                None => slots.free.push(at),
            }
        }
        file.write_all_at(&before.to_ne_bytes(), PROCESSES).map_err(|error| io("write", error))?;
        let table = Table {
            file,
            slots: Mutex::new(slots),
            highest: AtomicU32::new(highest),
            before,
            resends: AtomicBool::new(resends(&mount.init)),
        };
        Ok((table, mount, open))
    }

    /// Remembers how the kernel was greeted, and of which cluster it is told.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn agreed(&self, mount: &MountRecord) -> Result<()> {
        self.resends.store(resends(&mount.init), Ordering::Release);
        let bytes = with_length(mount);
        if bytes.len() as u64 > HEAD - MOUNT {
            return Err(Error::new(Code::Internal, "the kernel's greeting is too long to be kept"));
        }
        self.file.write_all_at(&bytes, MOUNT).map_err(|error| io("write", error))?;
        // The head is whole even while nothing is open; what is open lies behind it.
        let length = self.file.metadata().map_err(|error| io("read", error))?.len();
        self.file.set_len(length.max(HEAD)).map_err(|error| io("write", error))
    }

    /// Remembers what is opened, before the kernel hears of it.
    pub(crate) fn opened(&self, record: &OpenRecord) {
        let bytes = with_length(record);
        if bytes.len() > SLOT {
            tracing::warn!(handle = record.handle, "an open file is too long to be kept for another process");
            return;
        }
        let slot = {
            let mut slots = self.slots.lock();
            let slot = slots.free.pop().unwrap_or(slots.end);
            slots.end = slots.end.max(slot + 1);
            slots.by_handle.insert(record.handle, slot);
            slot
        };
        let mut whole = [0; SLOT];
        whole[..bytes.len()].copy_from_slice(&bytes);
        self.write(slot, &whole);
    }

    /// Forgets what was closed.
    pub(crate) fn closed(&self, handle: u64) {
        let Some(slot) = self.slots.lock().by_handle.remove(&handle) else { return };
        self.write(slot, &[0; 4]);
        self.slots.lock().free.push(slot);
    }

    fn write(&self, slot: u64, bytes: &[u8]) {
        if let Err(error) = self.file.write_all_at(bytes, HEAD + slot * SLOT as u64) {
            tracing::warn!(%error, "what is open is not kept for another process");
        }
    }

    /// The kernel gave a backing file this number.
    pub(crate) fn numbered(&self, backing: u32) {
        if self.highest.fetch_max(backing, Ordering::AcqRel) < backing
            && let Err(error) = self.file.write_all_at(&backing.to_ne_bytes(), HIGHEST)
        {
            tracing::warn!(%error, "numbers of backing files are not kept for another process");
        }
    }

    /// The highest number of a backing file so far.
    pub(crate) fn highest(&self) -> u32 {
        self.highest.load(Ordering::Acquire)
    }

    /// Whether another process can go on with this mount: requests that were not answered come again.
    pub(crate) fn can_be_taken_over(&self) -> bool {
        self.resends.load(Ordering::Acquire)
    }

    /// The first handle's number: no process before this one gave it away.
    pub(crate) fn first_handle(&self) -> u64 {
        u64::from(self.before) << 40 | 1
    }

    /// The memory file.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Whether a FUSE_INIT request has FUSE_HAS_RESEND, bit 39: bit 7 of the second word of flags, after a header of 40 bytes
/// and four words.
fn resends(init: &[u8]) -> bool {
    let word = init.get(56..60).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes);
    word & 1 << 7 != 0
}

/// A record after its length.
fn with_length<M: Message>(record: &M) -> Vec<u8> {
    let mut bytes = u32::try_from(record.encoded_len()).unwrap_or(u32::MAX).to_ne_bytes().to_vec();
    bytes.extend(record.encode_to_vec());
    bytes
}

fn record<M: Message + Default>(bytes: &[u8]) -> Option<M> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_ne_bytes(*length)).ok()?;
    M::decode(rest.get(..length)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use goosefs_core::proto::internal::ClusterMark;

    fn file(handle: u64) -> OpenRecord {
        OpenRecord { handle, node: 7, ..OpenRecord::default() }
    }

    fn left(table: &Table) -> (Table, MountRecord, Vec<u64>) {
        let descriptor = table.descriptor().try_clone_to_owned().expect("a copy");
        let (table, mount, open) = Table::left(descriptor).expect("a state");
        let mut handles: Vec<u64> = open.iter().map(|record| record.handle).collect();
        handles.sort_unstable();
        (table, mount, handles)
    }

    #[test]
    fn what_is_open_is_found_again() {
        let table = Table::new().expect("a table");
        let mount = MountRecord { init: vec![1, 2].into(), agreed: vec![3].into(), ..MountRecord::default() };
        table.agreed(&mount).expect("written");
        assert_eq!(left(&table).2, Vec::<u64>::new());
        for handle in 1..=5 {
            table.opened(&file(handle));
        }
        table.closed(2);
        table.closed(4);
        table.numbered(9);
        table.numbered(3);
        let (next, found, handles) = left(&table);
        assert_eq!((found, handles, next.highest()), (mount, vec![1, 3, 5], 9));
        assert!(next.first_handle() > table.first_handle());
        // The next process uses the free slots, and closes what the first has opened.
        next.opened(&file(6));
        next.opened(&file(7));
        next.opened(&file(8));
        next.closed(1);
        assert_eq!(left(&next).2, [3, 5, 6, 7, 8]);
    }

    #[test]
    fn a_cluster_that_is_met_later_is_added_beside_what_is_open() {
        let table = Table::new().expect("a table");
        // As older versions write it.
        let mount = MountRecord { init: vec![1].into(), ..MountRecord::default() };
        table.agreed(&mount).expect("written");
        table.opened(&file(1));
        let (next, found, _) = left(&table);
        assert_eq!(found.cluster, None);
        let mark = ClusterMark { cluster_id: vec![7; 16].into(), epoch: 3 };
        next.agreed(&MountRecord { cluster: Some(mark.clone()), ..found }).expect("written");
        let (_, found, handles) = left(&next);
        assert_eq!((found.cluster, found.init[..].to_vec(), handles), (Some(mark), vec![1], vec![1]));
    }

    #[test]
    fn another_form_is_refused() {
        let table = Table::new().expect("a table");
        let record = MountRecord { init: vec![1].into(), agreed: vec![1].into(), ..MountRecord::default() };
        table.agreed(&record).expect("written");
        table.file.write_all_at(b"GFSPARK\x02", 0).expect("written");
        let copy = table.descriptor().try_clone_to_owned().expect("a copy");
        assert_eq!(Table::left(copy).expect_err("another version").code, Code::Corrupt);
    }

    #[test]
    fn a_record_that_is_too_long_is_left_out() {
        let table = Table::new().expect("a table");
        table.agreed(&MountRecord::default()).expect("written");
        let attr = goosefs_core::proto::internal::Attr { owner: "o".repeat(SLOT), ..Default::default() };
        table.opened(&OpenRecord { handle: 1, attr: Some(attr), ..OpenRecord::default() });
        table.opened(&file(2));
        assert_eq!(left(&table).2, [2]);
    }
}
