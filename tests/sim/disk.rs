//! Disks that lose, at a crash, what was not synced.
//!
//! Files are real ones. What a master writes to them is noted with the bytes that were there before, until it syncs the
//! file. A crash takes back each noted write, or keeps it, or keeps its beginning, as chance has it; a kill keeps them
//! all. A master may also crash in the middle of its n-th call from now: that call is done in part or not at all, and
//! from then on nothing it does reaches the disk. Names (create, rename, remove) are durable at once.

use rand::Rng;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd;

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// It is done.
    Pass,
    /// Only so many bytes of it are.
    Only(usize),
    /// It is not, and says that it was.
    Nothing,
}

/// The disks of all masters of one simulation.
pub(crate) struct Disk {
    /// Whose code runs.
    running: Option<usize>,
    masters: Vec<Own>,
    /// By device and inode.
    unsynced: BTreeMap<(u64, u64), Unsynced>,
}

#[derive(Default)]
struct Own {
    /// Nothing it does has an effect any more.
    dead: bool,
    /// Calls until it crashes in the middle of one.
    crash_in: Option<u32>,
    syncs: u64,
}

struct Unsynced {
    master: usize,
    file: File,
    changes: Vec<Change>,
}

struct Change {
    offset: u64,
    /// What was there, as far as there was something.
    old: Vec<u8>,
    old_length: u64,
    /// What is there now; `None` for a file that was cut to `offset`.
    new: Option<Vec<u8>>,
}

/// What a crash does to writes that were not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Loss {
    /// The process was killed, the machine lives.
    Nothing,
    Everything,
    /// Those after some moment.
    Tail,
    /// Any.
    Some,
}

impl Disk {
    pub(crate) fn new(masters: usize) -> Disk {
        Disk {
            running: None,
            masters: (0..masters).map(|_| Own::default()).collect(),
            unsynced: BTreeMap::new(),
        }
    }

    /// From now on `master`'s code runs, or the simulation's own.
    pub(crate) fn run(&mut self, master: Option<usize>) {
        self.running = master;
    }

    pub(crate) fn is_dead(&self, master: usize) -> bool {
        self.masters[master].dead
    }

    /// Nothing that `master` does reaches its disk any more.
    pub(crate) fn die(&mut self, master: usize) {
        self.masters[master].dead = true;
    }

    /// `master` crashes in the middle of its `calls`-th call from now.
    pub(crate) fn crash_in(&mut self, master: usize, calls: u32) {
        self.masters[master].crash_in = Some(calls);
    }

    /// How often `master` has synced something.
    pub(crate) fn synced(&self, master: usize) -> u64 {
        self.masters[master].syncs
    }

    /// The disk as the next process of `master` finds it.
    pub(crate) fn recover(&mut self, master: usize, loss: Loss, dice: &mut StdRng) {
        let own = &mut self.masters[master];
        own.dead = false;
        own.crash_in = None;
        let (lost, rest) =
            std::mem::take(&mut self.unsynced).into_iter().partition(|(_, file)| file.master == master);
        self.unsynced = rest;
        let lost: BTreeMap<_, Unsynced> = lost;
        for file in lost.into_values() {
            file.lose(loss, dice);
        }
    }

    /// The verdict on a call of the running master, before it is looked at closely.
    fn call(&mut self) -> (Option<usize>, Verdict) {
        let Some(master) = self.running else { return (None, Verdict::Pass) };
        let own = &mut self.masters[master];
        if own.dead {
            return (Some(master), Verdict::Nothing);
        }
        if let Some(calls) = &mut own.crash_in {
            if *calls == 0 {
                own.dead = true;
                return (Some(master), Verdict::Only(0));
            }
            *calls -= 1;
        }
        (Some(master), Verdict::Pass)
    }

    pub(crate) fn writes(&mut self, file: i32, offset: Option<u64>, bytes: &[u8]) -> Verdict {
        let (master, mut verdict) = self.call();
        let Some(master) = master else { return Verdict::Pass };
        let mut bytes = bytes;
        if verdict == Verdict::Only(0) {
            let part = rand::random_range(0..=bytes.len());
            bytes = &bytes[..part];
            verdict = Verdict::Only(part);
        }
        if verdict != Verdict::Nothing {
            self.note(master, file, offset, Some(bytes));
        }
        verdict
    }

    pub(crate) fn cuts(&mut self, file: i32, length: u64) -> Verdict {
        let (master, verdict) = self.call();
        if let (Some(master), Verdict::Pass) = (master, verdict) {
            self.note(master, file, Some(length), None);
        }
        verdict
    }

    pub(crate) fn syncs(&mut self, file: i32) -> Verdict {
        let (master, verdict) = self.call();
        let Some(master) = master else { return Verdict::Pass };
        if verdict == Verdict::Pass {
            self.masters[master].syncs += 1;
            if let Some(place) = place(file) {
                self.unsynced.remove(&place);
            }
        }
        Verdict::Nothing
    }

    /// A file gets another name or loses its own.
    pub(crate) fn names(&mut self) -> Verdict {
        match self.call() {
            (_, Verdict::Pass) => Verdict::Pass,
            _ => Verdict::Nothing,
        }
    }

    fn note(&mut self, master: usize, file: i32, offset: Option<u64>, new: Option<&[u8]>) {
        let Some(place) = place(file) else { return };
        // The caller may have opened it for writing only.
        let again = || File::options().read(true).write(true).open(format!("/proc/self/fd/{file}"));
        let noted = self.unsynced.entry(place).or_insert_with(|| Unsynced {
            master,
            file: again().unwrap(),
            changes: Vec::new(),
        });
        let old_length = noted.file.metadata().unwrap().len();
        let offset = offset.unwrap_or_else(|| position(file));
        let length = match new {
            Some(new) => new.len() as u64,
            None => old_length.saturating_sub(offset),
        };
        let old = read(&noted.file, offset, length.min(old_length.saturating_sub(offset)) as usize);
        noted.changes.push(Change { offset, old, old_length, new: new.map(<[u8]>::to_vec) });
    }
}

impl Unsynced {
    fn lose(self, loss: Loss, dice: &mut StdRng) {
        if loss == Loss::Nothing {
            return;
        }
        for change in self.changes.iter().rev() {
            write(&self.file, change.offset, &change.old);
            self.file.set_len(change.old_length).unwrap();
        }
        let kept = match loss {
            Loss::Tail => dice.random_range(0..=self.changes.len()),
            _ => self.changes.len(),
        };
        for (number, change) in self.changes.iter().take(kept).enumerate() {
            let whole = match loss {
                Loss::Some => dice.random_bool(0.5),
                Loss::Tail => number + 1 < kept || dice.random_bool(0.5),
                Loss::Nothing | Loss::Everything => false,
            };
            match &change.new {
                Some(new) if whole => write(&self.file, change.offset, new),
                Some(new) if loss != Loss::Everything && dice.random_bool(0.5) => {
                    write(&self.file, change.offset, &new[..dice.random_range(0..=new.len())]);
                }
                None if whole => self.file.set_len(change.offset).unwrap(),
                _ => {}
            }
        }
    }
}

fn place(file: i32) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(format!("/proc/self/fd/{file}")).ok()?;
    metadata.is_file().then(|| (metadata.dev(), metadata.ino()))
}

fn position(file: i32) -> u64 {
    // SAFETY: asks for a number only.
    #[allow(unsafe_code)]
    let position = unsafe { libc::lseek(file, 0, libc::SEEK_CUR) };
    u64::try_from(position).unwrap()
}

fn read(file: &File, offset: u64, length: usize) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

/// Writes behind the back of what notes writes.
fn write(file: &File, offset: u64, bytes: &[u8]) {
    // SAFETY: the bytes are ours and live.
    #[allow(unsafe_code)]
    let written = unsafe {
        libc::syscall(libc::SYS_pwrite64, file.as_raw_fd(), bytes.as_ptr(), bytes.len(), offset as i64)
    };
    assert_eq!(usize::try_from(written).unwrap(), bytes.len());
}
