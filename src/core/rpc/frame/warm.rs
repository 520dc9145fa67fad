//! Whether a range of a file lies in the page cache, so that `sendfile` will not wait for a disk on a runtime thread.

use std::fs::File;
use std::os::fd::AsRawFd;

/// The page cache is asked once in so many bytes: the kernel reads ahead in runs at least that long.
const STEP: usize = 128 << 10;

/// Whether reading `length` bytes at `offset` would not wait, as far as samples tell. False where the file system cannot
/// say, and past the end of the file.
pub(super) fn in_page_cache(file: &File, offset: u64, length: usize) -> bool {
    let last = offset + (length as u64).saturating_sub(1);
    (0..length).step_by(STEP).map(|step| offset + step as u64).chain([last]).all(|at| probe(file, at))
}

#[allow(unsafe_code)]
fn probe(file: &File, at: u64) -> bool {
    let Ok(at) = libc::off_t::try_from(at) else { return false };
    let mut byte = 0_u8;
    let vector = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: the descriptor is open as the file is borrowed, `vector` describes one writable byte, and both outlive the
    // call.
    unsafe { libc::preadv2(file.as_raw_fd(), &raw const vector, 1, at, libc::RWF_NOWAIT) == 1 }
}
