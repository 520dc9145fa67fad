//! Container files: one sparse file per content and directory, `<dir>/<shard>/<container number>`, block *i* at
//! `i * block size`.
//!
//! Owns the system calls and the layout of names, keeps no state. What may be punched or unlinked when is decided by
//! the index; everything here blocks on the disk.

#![allow(unsafe_code)]

use crate::id::ContainerId;
use crate::{Code, Error, Result};
use bytes::Bytes;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statfs::{FsType, OVERLAYFS_SUPER_MAGIC, statfs};
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// File systems besides overlayfs that put their files on another file system's.
const OTHER_STACKED: [FsType; 1] = [FsType(0xf15f)];

/// Pieces that one pwritev takes (IOV_MAX).
const PIECES_PER_CALL: usize = 1024;

/// What a directory's file system can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Abilities {
    /// It lies on another file system: passthrough needs a stack depth of 2.
    pub stacked: bool,
}

/// Makes `dir` if it is missing and tries what the store needs of its file system.
pub fn prepare(dir: &Path) -> Result<Abilities> {
    fs::create_dir_all(dir)
        .map_err(|cause| Error::io(format_args!("create the tier directory {}", dir.display()), cause))?;
    probe_hole_punching(dir)?;
    let kind = statfs(dir)
        .map_err(|errno| {
            Error::io(format_args!("look at the file system of {}", dir.display()), errno.into())
        })?
        .filesystem_type();
    Ok(Abilities { stacked: kind == OVERLAYFS_SUPER_MAGIC || OTHER_STACKED.contains(&kind) })
}

fn probe_hole_punching(dir: &Path) -> Result<()> {
    const SIZE: u64 = 64 << 10;
    let path = dir.join(".probe");
    let doing = |what: &str, cause: io::Error| Error::io(format_args!("{what} {}", path.display()), cause);
    let file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|cause| doing("create", cause))?;
    let outcome = file
        .write_all_at(&[1; SIZE as usize], 0)
        .and_then(|()| punch(&file, 0..SIZE))
        .and_then(|()| file.metadata());
    fs::remove_file(&path).map_err(|cause| doing("remove", cause))?;
    let freed = match outcome {
        Ok(metadata) => metadata.blocks() * 512 < SIZE,
        Err(cause) if cause.raw_os_error() == Some(libc::EOPNOTSUPP) => false,
        Err(cause) => return Err(doing("write", cause)),
    };
    if freed {
        return Ok(());
    }
    Err(Error::new(
        Code::InvalidArgument,
        format!(
            "the tier directory {} is on a file system that cannot punch holes into files",
            dir.display()
        ),
    )
    .hint("put it on ext4, xfs, btrfs or tmpfs: evicting a block gives its space back by a hole"))
}

/// The path of container `id` below `dir`.
#[must_use]
pub fn path(dir: &Path, id: ContainerId) -> PathBuf {
    dir.join(format!("{:02x}", id.0 & 0xff)).join(id.0.to_string())
}

/// Opens a container for reading and writing.
pub fn open(dir: &Path, id: ContainerId) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path(dir, id))
}

/// Opens a container for reading only.
pub fn open_read_only(dir: &Path, id: ContainerId) -> io::Result<File> {
    File::open(path(dir, id))
}

/// Opens a container for reading and writing, made if it is missing.
pub fn create(dir: &Path, id: ContainerId) -> io::Result<File> {
    let path = path(dir, id);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    match options.open(&path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            if let Some(shard) = path.parent() {
                fs::create_dir_all(shard)?;
            }
            options.open(&path)
        }
        opened => opened,
    }
}

/// Every container file below `dir`.
pub fn list(dir: &Path) -> io::Result<Vec<ContainerId>> {
    let mut found = Vec::new();
    for shard in fs::read_dir(dir)? {
        let shard = shard?;
        let name = shard.file_name();
        let Some(name) = name.to_str() else { continue };
        let is_shard = name.len() == 2 && u8::from_str_radix(name, 16).is_ok() && shard.file_type()?.is_dir();
        if !is_shard {
            continue;
        }
        for entry in fs::read_dir(shard.path())? {
            let number = entry?.file_name().to_str().and_then(|name| name.parse().ok());
            found.extend(number.map(ContainerId));
        }
    }
    Ok(found)
}

/// Writes `pieces` one after the other from `offset` on.
pub fn write_pieces(file: &File, mut offset: u64, pieces: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut rest = slices.as_mut_slice();
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        let batch = &rest[..rest.len().min(PIECES_PER_CALL)];
        let written = match nix::sys::uio::pwritev(file, batch, signed(offset)?) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(nix::errno::Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        offset += written as u64;
        IoSlice::advance_slices(&mut rest, written);
    }
    Ok(())
}

/// Reads exactly `length` bytes from `offset`; a shorter file is `UnexpectedEof`.
pub fn read_exact(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// Gives the space of `range` back; its bytes read as zeros from now on and the length stays.
pub fn punch(file: &File, range: Range<u64>) -> io::Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    Ok(fallocate(file, flags, signed(range.start)?, signed(range.end - range.start)?)?)
}

/// `F_SETSIG` of `<asm-generic/fcntl.h>`, which libc does not have.
const F_SETSIG: libc::c_int = 10;

/// Whether anybody else (another descriptor of ours, a peer we handed one to, the kernel's backing file, a mapping)
/// still has `file` open. Asked by trying for an exclusive lease, which the kernel grants to an only opener; whoever opens the
/// file in that moment waits until it is given back (fcntl(2), "Leases").
#[must_use]
pub fn open_elsewhere(file: &File) -> bool {
    // That somebody waits is told by a signal, SIGIO by default, which would end the process; SIGURG is ignored.
    // SAFETY: F_SETSIG takes a plain integer and touches no memory of ours; the descriptor is open while borrowed.
    unsafe { libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG) };
    // SAFETY: as above, for F_SETLEASE.
    let taken = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) };
    if taken == 0 {
        // SAFETY: as above.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) };
        return false;
    }
    io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN)
}

fn signed(offset: u64) -> io::Result<i64> {
    i64::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_land_one_after_the_other_and_holes_read_as_zeros() {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path()).unwrap();
        let file = create(dir.path(), ContainerId(0x1ff)).unwrap();
        let pieces: Vec<Bytes> = (0..3000u32).map(|n| Bytes::from(vec![n as u8; 7])).collect();
        write_pieces(&file, 100, &pieces).unwrap();
        let flat: Vec<u8> = pieces.concat();
        assert_eq!(read_exact(&file, 100, flat.len()).unwrap(), flat);
        punch(&file, 100..200).unwrap();
        assert_eq!(read_exact(&file, 100, 100).unwrap(), [0; 100]);
        assert_eq!(read_exact(&file, 200, 10).unwrap(), flat[100..110]);
        assert_eq!(list(dir.path()).unwrap(), [ContainerId(0x1ff)]);
        let past_the_end = read_exact(&file, 100, flat.len() + 1).unwrap_err();
        assert_eq!(past_the_end.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_directory_without_hole_punching_is_refused_by_name() {
        let error = prepare(Path::new("/proc/self/no-such-place")).unwrap_err();
        assert!(error.message.contains("/proc/self/no-such-place"), "{error}");
    }

    #[test]
    fn an_unlinked_file_is_seen_to_be_open_until_its_last_holder_closes_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = create(dir.path(), ContainerId(1)).unwrap();
        let holder = open_read_only(dir.path(), ContainerId(1)).unwrap();
        fs::remove_file(path(dir.path(), ContainerId(1))).unwrap();
        assert!(open_elsewhere(&file));
        drop(holder);
        assert!(!open_elsewhere(&file));
    }
}
