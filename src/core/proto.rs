//! The messages of `proto/`, generated at build time, and the method numbers of our framed services.
//!
//! `com.qcloud.cos.goosefs` is the public GooseFS 2.x client protocol, `goosefs` is ours. Rooms that use them import
//! from the short names below.

#[allow(non_camel_case_types, missing_docs, clippy::all, clippy::pedantic, unreachable_pub, rustdoc::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/all.rs"));
}

/// The public GooseFS 2.x client protocol.
pub mod public {
    pub use super::generated::com::qcloud::cos::goosefs::grpc::*;
    /// Messages that the public services share below the services' own package.
    pub mod shared {
        pub use super::super::generated::com::qcloud::cos::goosefs::proto::*;
    }
}

pub use generated::goosefs::{image, internal, journal, raft};

use crate::error::{Code, Error};
use internal::WireError;

impl Error {
    /// As it crosses the wire and stands in the log, without its cause; texts are cut to four kilobytes.
    #[must_use]
    pub fn to_wire(&self) -> WireError {
        let cut = |text: &str| text[..text.floor_char_boundary(4096)].to_owned();
        WireError {
            code: self.code as u32,
            message: cut(&self.message),
            hint: cut(&self.hint),
            leader: cut(&self.leader),
        }
    }

    /// The error that crossed the wire.
    #[must_use]
    pub fn from_wire(error: WireError) -> Error {
        Error {
            hint: error.hint,
            leader: error.leader,
            ..Error::new(Code::from_number(error.code), error.message)
        }
    }
}

/// Method numbers of frames. Wire format: never change one, only add.
pub mod method {
    /// One numbered method of a framed service.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct Method {
        /// The number on the wire.
        pub number: u16,
        /// The name in logs, metrics and errors.
        pub name: &'static str,
    }

    impl Method {
        /// Whether its calls wait for something to happen, so that one is always open without anything to send.
        #[must_use]
        pub fn is_long_poll(self) -> bool {
            self == CHANGES
        }
    }

    macro_rules! methods {
        ($($(#[$doc:meta])* $constant:ident = $number:literal, $name:literal;)*) => {
            $($(#[$doc])* pub const $constant: Method = Method { number: $number, name: $name };)*

            /// Every method.
            pub const ALL: &[Method] = &[$($constant),*];
        };
    }

    methods! {
        /// `HelloRequest` to `HelloResponse`, first on every connection.
        HELLO = 1, "Hello";
        /// `ProveRequest` to `Empty`, from callers with the control key, before all other calls.
        PROVE = 2, "Prove";

        // Masters, `proto/internal/master.proto`: the inode service.
        /// `OpenSessionRequest` to `OpenSessionResponse`.
        OPEN_SESSION = 100, "OpenSession";
        /// `LookupRequest` to `AttrResponse`.
        LOOKUP = 101, "Lookup";
        /// `GetAttrRequest` to `AttrResponse`.
        GET_ATTR = 102, "GetAttr";
        /// `ReadDirRequest` to `ReadDirResponse`.
        READ_DIR = 103, "ReadDir";
        /// `ResolveRequest` to `AttrResponse`.
        RESOLVE = 104, "Resolve";
        /// `CreateRequest` to `AttrResponse`.
        CREATE = 105, "Create";
        /// `MakeDirRequest` to `AttrResponse`.
        MAKE_DIR = 106, "MakeDir";
        /// `SymlinkRequest` to `AttrResponse`.
        SYMLINK = 107, "Symlink";
        /// `RemoveRequest` to `Empty`.
        REMOVE = 108, "Remove";
        /// `RenameRequest` to `AttrResponse`.
        RENAME = 109, "Rename";
        /// `SetAttrRequest` to `AttrResponse`.
        SET_ATTR = 110, "SetAttr";
        /// `TruncateRequest` to `AttrResponse`.
        TRUNCATE = 111, "Truncate";
        /// `CompleteRequest` to `AttrResponse`.
        COMPLETE = 112, "Complete";
        /// `PersistRequest` to `PersistResponse`.
        PERSIST = 113, "Persist";
        /// `StatFsRequest` to `StatFsResponse`.
        STAT_FS = 114, "StatFs";
        /// `ChangesRequest` to `ChangesResponse`.
        CHANGES = 115, "Changes";

        // Masters: versions, mounts, workers.
        /// `VersionRequest` to `VersionResponse`.
        VERSION = 130, "Version";
        /// `MountsRequest` to `MountsResponse`.
        MOUNTS = 131, "Mounts";
        /// `WorkersRequest` to `WorkersResponse`.
        WORKERS = 132, "Workers";
        /// `HeartbeatRequest` to `HeartbeatResponse`; every master answers, not the leader alone.
        HEARTBEAT = 133, "Heartbeat";
        /// `CommitBlockRequest` to `Empty`.
        COMMIT_BLOCK = 134, "CommitBlock";
        /// `ClusterRequest` to `ClusterResponse`; every master answers, not the leader alone.
        CLUSTER = 135, "Cluster";
        /// `DigestRequest` to `DigestResponse`; every master answers of its own copy, not the leader alone.
        DIGEST = 136, "Digest";
        /// `DrainRequest` to `DrainResponse`.
        DRAIN = 137, "Drain";

        // Masters: preloads.
        /// `SubmitPreloadRequest` to `SubmitPreloadResponse`.
        SUBMIT_PRELOAD = 150, "SubmitPreload";
        /// `PreloadsRequest` to `PreloadsResponse`.
        PRELOADS = 151, "Preloads";
        /// `StopPreloadRequest` to `Empty`.
        STOP_PRELOAD = 152, "StopPreload";

        /// `BackupRequest`, answered by a stream of payloads.
        BACKUP = 160, "Backup";

        // Workers, `proto/internal/worker.proto`.
        /// `ReadContentRequest`, answered by a stream of payloads.
        READ_CONTENT = 200, "ReadContent";
        /// `WriteContentRequest` and a stream of payloads, each answered by `WriteContentResponse`.
        WRITE_CONTENT = 201, "WriteContent";
        /// `UploadContentRequest` to `UploadContentResponse`.
        UPLOAD_CONTENT = 202, "UploadContent";
        /// `DropContentsRequest` to `DropContentsResponse`.
        DROP_CONTENTS = 203, "DropContents";
        /// `CachedRequest` to `CachedResponse`.
        CACHED = 204, "Cached";
        /// `FillContentRequest` to `FillContentResponse`.
        FILL_CONTENT = 205, "FillContent";
        /// `TakeOverRequest` to `Empty`.
        TAKE_OVER = 206, "TakeOver";

        // A worker's Unix socket.
        /// `OpenContainerRequest` to `OpenContainerResponse` and one descriptor.
        OPEN_CONTAINER = 220, "OpenContainer";
        /// `CloseLeaseRequest` to `Empty`.
        CLOSE_LEASE = 221, "CloseLease";

        // A holder's Unix socket, `proto/internal/park.proto`.
        /// `TakeMountRequest` to `TakeMountResponse` and two descriptors.
        TAKE_MOUNT = 240, "TakeMount";
        /// `ParkMountRequest` and two descriptors to `Empty`.
        PARK_MOUNT = 241, "ParkMount";
        /// `UnparkMountRequest` to `Empty`.
        UNPARK_MOUNT = 242, "UnparkMount";
        /// `EndMountRequest` to `Empty`.
        END_MOUNT = 243, "EndMount";
    }

    /// The method with this wire number.
    #[must_use]
    pub fn by_number(number: u16) -> Option<Method> {
        ALL.iter().copied().find(|method| method.number == number)
    }
}
