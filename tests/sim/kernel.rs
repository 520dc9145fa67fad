//! The C library's calls for time, chance and files, as this test binary has them.
//!
//! The linker takes these definitions for every caller in the binary: std, tokio, rand, raft-engine. On a thread that
//! has entered a simulation they answer from it; on all others they hand through to the kernel. So the masters run
//! unchanged, and `Instant::now`, `thread_rng`, a `HashMap`'s keys and `fdatasync` are the simulation's all the same.

use crate::disk::{Disk, Verdict};
use std::cell::{Cell, RefCell};
use std::ffi::{c_char, c_int, c_uint, c_void};

thread_local! {
    /// Nanoseconds; zero on a thread that is not in a simulation.
    static NOW: Cell<u64> = const { Cell::new(0) };
    /// State of the random numbers; zero on a thread that is not in a simulation.
    static CHANCE: Cell<u64> = const { Cell::new(0) };
    static DISK: RefCell<Option<Disk>> = const { RefCell::new(None) };
}

/// 2026-01-01: the wall clock at virtual time zero, in seconds.
const EPOCH: u64 = 1_767_225_600;

/// Makes this thread a simulation until the guard is dropped.
pub(crate) fn enter(seed: u64, masters: usize) -> Entered {
    NOW.set(1);
    CHANCE.set(seed | 1);
    DISK.with_borrow_mut(|disk| *disk = Some(Disk::new(masters)));
    Entered
}

/// See [`enter`].
pub(crate) struct Entered;

impl Drop for Entered {
    fn drop(&mut self) {
        NOW.set(0);
        CHANCE.set(0);
        DISK.with_borrow_mut(|disk| *disk = None);
    }
}

/// Sets what clocks show, in nanoseconds.
pub(crate) fn set_time(nanoseconds: u64) {
    NOW.set(nanoseconds.max(1));
}

/// The disks of this thread's simulation.
pub(crate) fn disk<T>(look: impl FnOnce(&mut Disk) -> T) -> T {
    DISK.with_borrow_mut(|disk| look(disk.as_mut().unwrap()))
}

/// Asks the simulation, if this thread is in one and a master's code runs.
fn ask(question: impl FnOnce(&mut Disk) -> Verdict) -> Verdict {
    let asked = DISK.try_with(|disk| match disk.try_borrow_mut() {
        Ok(mut disk) => disk.as_mut().map_or(Verdict::Pass, question),
        // The simulation's own calls.
        Err(_) => Verdict::Pass,
    });
    asked.unwrap_or(Verdict::Pass)
}

// SAFETY: the same contract as getrandom(2).
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
    let mut state = CHANCE.try_with(Cell::get).unwrap_or(0);
    if state == 0 {
        // SAFETY: handed through.
        return unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) as isize };
    }
    for at in 0..length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // SAFETY: the caller gave `length` bytes.
        unsafe { buffer.cast::<u8>().add(at).write((state >> 33) as u8) };
    }
    CHANCE.set(state | 1);
    length as isize
}

// SAFETY: the same contract as clock_gettime(2).
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, out: *mut libc::timespec) -> c_int {
    let now = NOW.try_with(Cell::get).unwrap_or(0);
    if now == 0 {
        // SAFETY: handed through.
        return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, out) as c_int };
    }
    let since = if clock == libc::CLOCK_REALTIME { EPOCH } else { 0 };
    let time = libc::timespec {
        tv_sec: (since + now / 1_000_000_000) as libc::time_t,
        tv_nsec: (now % 1_000_000_000) as libc::c_long,
    };
    // SAFETY: the caller gave a timespec.
    unsafe { out.write(time) };
    0
}

fn given<'a>(buffer: *const c_void, length: usize) -> &'a [u8] {
    // SAFETY: the caller of write gave `length` readable bytes; they are read before it returns.
    #[allow(unsafe_code)]
    unsafe {
        std::slice::from_raw_parts(buffer.cast(), length)
    }
}

// SAFETY: the same contract as write(2).
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
unsafe extern "C" fn write(file: c_int, buffer: *const c_void, length: usize) -> isize {
    let verdict =
        if file <= 2 { Verdict::Pass } else { ask(|disk| disk.writes(file, None, given(buffer, length))) };
    match verdict {
        // SAFETY: handed through.
        Verdict::Pass => unsafe { libc::syscall(libc::SYS_write, file, buffer, length) as isize },
        Verdict::Only(part) => {
            // SAFETY: a part of what the caller gave.
            unsafe { libc::syscall(libc::SYS_write, file, buffer, part) };
            length as isize
        }
        Verdict::Nothing => length as isize,
    }
}

#[allow(unsafe_code)]
unsafe fn write_at(file: c_int, buffer: *const c_void, length: usize, offset: i64) -> isize {
    match ask(|disk| disk.writes(file, Some(offset as u64), given(buffer, length))) {
        // SAFETY: handed through.
        Verdict::Pass => unsafe { libc::syscall(libc::SYS_pwrite64, file, buffer, length, offset) as isize },
        Verdict::Only(part) => {
            // SAFETY: a part of what the caller gave.
            unsafe { libc::syscall(libc::SYS_pwrite64, file, buffer, part, offset) };
            length as isize
        }
        Verdict::Nothing => length as isize,
    }
}

// SAFETY: the same contract as pwrite(2).
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite(file: c_int, buffer: *const c_void, length: usize, offset: i64) -> isize {
    // SAFETY: as given.
    unsafe { write_at(file, buffer, length, offset) }
}

// SAFETY: the same contract as pwrite(2).
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(file: c_int, buffer: *const c_void, length: usize, offset: i64) -> isize {
    // SAFETY: as given.
    unsafe { write_at(file, buffer, length, offset) }
}

fn cut(file: c_int, length: i64) -> c_int {
    match ask(|disk| disk.cuts(file, length as u64)) {
        // SAFETY: handed through.
        #[allow(unsafe_code)]
        Verdict::Pass => unsafe { libc::syscall(libc::SYS_ftruncate, file, length) as c_int },
        Verdict::Only(_) | Verdict::Nothing => 0,
    }
}

#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn ftruncate(file: c_int, length: i64) -> c_int {
    cut(file, length)
}

#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn ftruncate64(file: c_int, length: i64) -> c_int {
    cut(file, length)
}

fn synced(file: c_int, call: libc::c_long) -> c_int {
    match ask(|disk| disk.syncs(file)) {
        // SAFETY: handed through.
        #[allow(unsafe_code)]
        Verdict::Pass => unsafe { libc::syscall(call, file) as c_int },
        Verdict::Only(_) | Verdict::Nothing => 0,
    }
}

#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn fsync(file: c_int) -> c_int {
    synced(file, libc::SYS_fsync)
}

#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn fdatasync(file: c_int) -> c_int {
    synced(file, libc::SYS_fdatasync)
}

// SAFETY: the same contract as rename(2).
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    match ask(Disk::names) {
        // SAFETY: handed through.
        Verdict::Pass => unsafe { libc::renameat(libc::AT_FDCWD, from, libc::AT_FDCWD, to) },
        Verdict::Only(_) | Verdict::Nothing => 0,
    }
}

// SAFETY: the same contract as unlink(2).
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    match ask(Disk::names) {
        // SAFETY: handed through.
        Verdict::Pass => unsafe { libc::unlinkat(libc::AT_FDCWD, path, 0) },
        Verdict::Only(_) | Verdict::Nothing => 0,
    }
}
