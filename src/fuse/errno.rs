//! What a file system call answers for an error of ours.
//!
//! The mapping is [`Code::errno`], a match without a default arm, but for the codes that have a better answer here:
//! nobody who reads a file expects EAGAIN, which programs take for a non-blocking descriptor and spin on.

use goosefs_core::{Code, Error};

/// The errno for `error`.
#[must_use]
pub fn errno(error: &Error) -> i32 {
    match error.code {
        Code::NotLeader | Code::Unavailable => libc::EIO,
        Code::NotFound
        | Code::AlreadyExists
        | Code::NotDirectory
        | Code::IsDirectory
        | Code::NotEmpty
        | Code::InvalidArgument
        | Code::InvalidPath
        | Code::NameTooLong
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::ReadOnly
        | Code::NoSpace
        | Code::Incomplete
        | Code::Stale
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Unimplemented
        | Code::Corrupt
        | Code::Ufs
        | Code::WrongCluster
        | Code::Busy
        | Code::CrossMount
        | Code::Lost
        | Code::Io
        | Code::Internal => error.code.errno(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_an_errno_and_none_makes_a_reader_spin() {
        for code in Code::ALL {
            let errno = errno(&Error::new(code, "m"));
            assert!(errno > 0 && errno != libc::EAGAIN, "{code:?} answers {errno}");
        }
    }

    #[test]
    fn what_programs_branch_on_keeps_its_meaning() {
        let of = |code| errno(&Error::new(code, "m"));
        assert_eq!(of(Code::NotFound), libc::ENOENT);
        assert_eq!(of(Code::ReadOnly), libc::EROFS);
        assert_eq!(of(Code::Cancelled), libc::EINTR);
        assert_eq!(of(Code::Stale), libc::ESTALE);
        assert_eq!(of(Code::DeadlineExceeded), libc::ETIMEDOUT);
        assert_eq!(of(Code::Unimplemented), libc::EOPNOTSUPP);
    }
}
