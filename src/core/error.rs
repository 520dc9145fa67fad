//! The errors of GooseFS: a small closed set of codes that crosses the wire as number, message and hint.
//!
//! Whoever handles an error matches on [`Code`]; the message names the thing, the hint says what to do about it. Every
//! translation (errno, gRPC status, retry) is a match without a default arm, so a new code cannot be forgotten.

use std::fmt;

/// Result with our error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. Numbers are wire format: never change one, only add.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u32)]
pub enum Code {
    /// No such file, directory, mount, worker or version.
    NotFound = 1,
    /// The name is taken.
    AlreadyExists = 2,
    /// A directory was needed.
    NotDirectory = 3,
    /// A file was needed.
    IsDirectory = 4,
    /// The directory has entries.
    NotEmpty = 5,
    /// An argument, property or flag is outside what is allowed.
    InvalidArgument = 6,
    /// Not a path of the namespace.
    InvalidPath = 7,
    /// A name or path is too long.
    NameTooLong = 8,
    /// The caller may not do this.
    PermissionDenied = 9,
    /// The caller has not said who it is.
    Unauthenticated = 10,
    /// The under-storage or mount is read-only.
    ReadOnly = 11,
    /// No space left in cache or storage.
    NoSpace = 12,
    /// The file is still being written.
    Incomplete = 13,
    /// The version asked for is gone: the under-storage holds another one.
    Stale = 14,
    /// This master does not lead; [`Error::leader`] may say who does.
    NotLeader = 15,
    /// Not now: no leader, starting, shutting down, peer away. Trying again helps.
    Unavailable = 16,
    /// Took longer than allowed.
    DeadlineExceeded = 17,
    /// The caller gave up.
    Cancelled = 18,
    /// Not served by this version.
    Unimplemented = 19,
    /// Bytes do not match their checksum, or a record cannot be read.
    Corrupt = 20,
    /// The under-storage answered with an error.
    Ufs = 21,
    /// Another cluster id or epoch.
    WrongCluster = 22,
    /// Another operation holds the thing; trying again helps.
    Busy = 23,
    /// The two paths lie on different mounts.
    CrossMount = 24,
    /// The only copy of these bytes was on a worker that is gone.
    Lost = 25,
    /// Local input or output failed.
    Io = 26,
    /// A bug of ours.
    Internal = 27,
}

impl Code {
    /// Every code, in the order of its number.
    pub const ALL: [Code; 27] = [
        Code::NotFound,
        Code::AlreadyExists,
        Code::NotDirectory,
        Code::IsDirectory,
        Code::NotEmpty,
        Code::InvalidArgument,
        Code::InvalidPath,
        Code::NameTooLong,
        Code::PermissionDenied,
        Code::Unauthenticated,
        Code::ReadOnly,
        Code::NoSpace,
        Code::Incomplete,
        Code::Stale,
        Code::NotLeader,
        Code::Unavailable,
        Code::DeadlineExceeded,
        Code::Cancelled,
        Code::Unimplemented,
        Code::Corrupt,
        Code::Ufs,
        Code::WrongCluster,
        Code::Busy,
        Code::CrossMount,
        Code::Lost,
        Code::Io,
        Code::Internal,
    ];

    /// The code with this wire number; numbers of a newer version read as [`Code::Internal`].
    #[must_use]
    pub fn from_number(number: u32) -> Code {
        Code::ALL.into_iter().find(|code| *code as u32 == number).unwrap_or(Code::Internal)
    }

    /// Whether the same call may succeed when it is made again, unchanged.
    #[must_use]
    pub fn retryable(self) -> bool {
        match self {
            Code::NotLeader | Code::Unavailable | Code::DeadlineExceeded | Code::Busy => true,
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
            | Code::Cancelled
            | Code::Unimplemented
            | Code::Corrupt
            | Code::Ufs
            | Code::WrongCluster
            | Code::CrossMount
            | Code::Lost
            | Code::Io
            | Code::Internal => false,
        }
    }

    /// The errno that a file system call answers with.
    #[must_use]
    pub fn errno(self) -> i32 {
        match self {
            Code::NotFound => libc::ENOENT,
            Code::AlreadyExists => libc::EEXIST,
            Code::NotDirectory => libc::ENOTDIR,
            Code::IsDirectory => libc::EISDIR,
            Code::NotEmpty => libc::ENOTEMPTY,
            Code::InvalidArgument | Code::InvalidPath => libc::EINVAL,
            Code::NameTooLong => libc::ENAMETOOLONG,
            Code::PermissionDenied => libc::EPERM,
            Code::Unauthenticated => libc::EACCES,
            Code::ReadOnly => libc::EROFS,
            Code::NoSpace => libc::ENOSPC,
            Code::Incomplete | Code::Busy => libc::EBUSY,
            Code::Stale => libc::ESTALE,
            Code::NotLeader | Code::Unavailable => libc::EAGAIN,
            Code::DeadlineExceeded => libc::ETIMEDOUT,
            Code::Cancelled => libc::EINTR,
            Code::Unimplemented => libc::EOPNOTSUPP,
            Code::CrossMount => libc::EXDEV,
            Code::Corrupt | Code::Ufs | Code::WrongCluster | Code::Lost | Code::Io | Code::Internal => {
                libc::EIO
            }
        }
    }

    /// The gRPC status of the GooseFS protocol. Its clients retry on UNAVAILABLE, DEADLINE_EXCEEDED, ABORTED and
    /// UNAUTHENTICATED, and tell FAILED_PRECONDITION apart by the message ("is not empty", "is incomplete",
    /// "Is a directory").
    #[must_use]
    pub fn grpc(self) -> tonic::Code {
        match self {
            Code::NotFound => tonic::Code::NotFound,
            Code::AlreadyExists => tonic::Code::AlreadyExists,
            Code::InvalidArgument | Code::InvalidPath | Code::NameTooLong => tonic::Code::InvalidArgument,
            Code::PermissionDenied | Code::ReadOnly => tonic::Code::PermissionDenied,
            Code::Unauthenticated => tonic::Code::Unauthenticated,
            Code::NoSpace => tonic::Code::ResourceExhausted,
            Code::NotDirectory
            | Code::IsDirectory
            | Code::NotEmpty
            | Code::Incomplete
            | Code::Stale
            | Code::WrongCluster
            | Code::CrossMount => tonic::Code::FailedPrecondition,
            Code::NotLeader | Code::Unavailable => tonic::Code::Unavailable,
            Code::DeadlineExceeded => tonic::Code::DeadlineExceeded,
            Code::Cancelled => tonic::Code::Cancelled,
            Code::Busy => tonic::Code::Aborted,
            Code::Unimplemented => tonic::Code::Unimplemented,
            Code::Corrupt | Code::Lost => tonic::Code::DataLoss,
            Code::Ufs | Code::Io | Code::Internal => tonic::Code::Internal,
        }
    }
}

/// An error: its code, a message that names the thing, and perhaps a remedy, the leader and the cause.
#[derive(Clone, thiserror::Error)]
pub struct Error {
    /// What to branch on.
    pub code: Code,
    /// One sentence that names the thing.
    pub message: String,
    /// What the reader can do about it; empty when there is nothing to say.
    pub hint: String,
    /// `host:port` of the master to ask instead; only with [`Code::NotLeader`], empty while none is known.
    pub leader: String,
    /// What caused it, for logs; it does not cross the wire.
    #[source]
    pub source: Option<std::sync::Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error without hint or cause.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error { code, message: message.into(), hint: String::new(), leader: String::new(), source: None }
    }

    /// The same error with a remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = hint.into();
        self
    }

    /// The same error with its cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Error {
        self.source = Some(std::sync::Arc::new(source));
        self
    }

    /// The same error with `context` ("verb object") before its message.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Error {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// This master does not lead; `leader` is `host:port`, or empty while none is known.
    #[must_use]
    pub fn not_leader(leader: impl Into<String>) -> Error {
        let leader = leader.into();
        let message = if leader.is_empty() {
            "no master leads at the moment".to_owned()
        } else {
            format!("this master does not lead, {leader} does")
        };
        Error { leader, ..Error::new(Code::NotLeader, message) }
    }

    /// `verb object` failed with the local I/O error `cause`; ENOSPC, ENOENT and the like keep their meaning.
    #[must_use]
    pub fn io(context: impl fmt::Display, cause: std::io::Error) -> Error {
        let code = by_errno(&cause).unwrap_or_else(|| by_kind(cause.kind()));
        Error::new(code, format!("{context}: {cause}")).caused_by(cause)
    }
}

/// What an errno says that trying again does not mend, and that its kind does not tell.
fn by_errno(cause: &std::io::Error) -> Option<Code> {
    match cause.raw_os_error()? {
        libc::ENAMETOOLONG => Some(Code::NameTooLong),
        libc::EINVAL | libc::ELOOP | libc::EFBIG | libc::EILSEQ => Some(Code::InvalidArgument),
        libc::EXDEV => Some(Code::CrossMount),
        libc::EMLINK | libc::EDQUOT => Some(Code::NoSpace),
        libc::EOPNOTSUPP | libc::ENOSYS => Some(Code::Unimplemented),
        _ => None,
    }
}

fn by_kind(kind: std::io::ErrorKind) -> Code {
    match kind {
        std::io::ErrorKind::NotFound => Code::NotFound,
        std::io::ErrorKind::AlreadyExists => Code::AlreadyExists,
        std::io::ErrorKind::PermissionDenied => Code::PermissionDenied,
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Code::NoSpace,
        std::io::ErrorKind::ReadOnlyFilesystem => Code::ReadOnly,
        std::io::ErrorKind::NotADirectory => Code::NotDirectory,
        std::io::ErrorKind::IsADirectory => Code::IsDirectory,
        std::io::ErrorKind::DirectoryNotEmpty => Code::NotEmpty,
        std::io::ErrorKind::InvalidFilename => Code::NameTooLong,
        std::io::ErrorKind::TimedOut => Code::DeadlineExceeded,
        std::io::ErrorKind::Interrupted => Code::Cancelled,
        _ => Code::Io,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.hint.is_empty() {
            write!(f, " ({})", self.hint)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.code)
    }
}

impl PartialEq for Error {
    fn eq(&self, other: &Error) -> bool {
        self.code == other.code && self.message == other.message
    }
}

/// Names of the gRPC metadata that carry what a status cannot.
const CODE_KEY: &str = "goosefs-code";
const LEADER_KEY: &str = "goosefs-leader";

impl From<Error> for tonic::Status {
    fn from(error: Error) -> tonic::Status {
        let mut status = tonic::Status::new(error.code.grpc(), error.to_string());
        let metadata = status.metadata_mut();
        metadata.insert(CODE_KEY, tonic::metadata::MetadataValue::from(error.code as u32));
        if let Ok(leader) = error.leader.parse()
            && !error.leader.is_empty()
        {
            metadata.insert(LEADER_KEY, leader);
        }
        status
    }
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Error {
        let number =
            status.metadata().get(CODE_KEY).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        let code = match number {
            Some(number) => Code::from_number(number),
            None => code_of_status(status.code()),
        };
        let leader =
            status.metadata().get(LEADER_KEY).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        Error { leader, ..Error::new(code, status.message()) }
    }
}

fn code_of_status(code: tonic::Code) -> Code {
    match code {
        tonic::Code::NotFound => Code::NotFound,
        tonic::Code::AlreadyExists => Code::AlreadyExists,
        tonic::Code::InvalidArgument | tonic::Code::OutOfRange => Code::InvalidArgument,
        tonic::Code::PermissionDenied => Code::PermissionDenied,
        tonic::Code::Unauthenticated => Code::Unauthenticated,
        tonic::Code::ResourceExhausted => Code::NoSpace,
        tonic::Code::FailedPrecondition => Code::Incomplete,
        tonic::Code::Unavailable => Code::Unavailable,
        tonic::Code::DeadlineExceeded => Code::DeadlineExceeded,
        tonic::Code::Cancelled => Code::Cancelled,
        tonic::Code::Aborted => Code::Busy,
        tonic::Code::Unimplemented => Code::Unimplemented,
        tonic::Code::DataLoss => Code::Corrupt,
        tonic::Code::Ok | tonic::Code::Unknown | tonic::Code::Internal => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_wire() {
        for code in Code::ALL {
            assert_eq!(Code::from_number(code as u32), code);
            let back = Error::from(tonic::Status::from(Error::new(code, "m")));
            assert_eq!(back, Error::new(code, "m"));
        }
    }

    #[test]
    fn what_no_retry_mends_is_told_apart_from_a_broken_disk() {
        let of = |errno| Error::io("write", std::io::Error::from_raw_os_error(errno)).code;
        assert_eq!(of(libc::ENAMETOOLONG), Code::NameTooLong);
        for errno in [libc::ELOOP, libc::EFBIG, libc::EINVAL, libc::EILSEQ] {
            assert_eq!(of(errno), Code::InvalidArgument);
        }
        assert_eq!((of(libc::ENOSPC), of(libc::EDQUOT)), (Code::NoSpace, Code::NoSpace));
        assert_eq!((of(libc::EIO), of(libc::ENOENT)), (Code::Io, Code::NotFound));
    }

    #[test]
    fn the_leader_survives_the_wire() {
        let back = Error::from(tonic::Status::from(Error::not_leader("m1:9200")));
        assert_eq!(back.leader, "m1:9200");
        assert_eq!(Error::from(tonic::Status::from(Error::not_leader(""))).leader, "");
    }

    #[test]
    fn a_full_disk_keeps_its_meaning() {
        let error = Error::io("write log", std::io::Error::from_raw_os_error(libc::ENOSPC));
        assert_eq!(error.code, Code::NoSpace);
        assert_eq!(error.code.errno(), libc::ENOSPC);
    }
}
