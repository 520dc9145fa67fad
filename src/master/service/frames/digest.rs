//! The digest of this master's own copy of the namespace, so that copies can be compared without asking the leader.
//!
//! Safe to answer on a standby and on a leader that was deposed, since it makes no claim of being current: it names the
//! log index that it speaks of, and copies are compared only at equal indexes. It tells nothing of what is in the
//! namespace. The image is frozen in constant time and written through a checksum on a thread for blocking work, one at
//! a time, so writers and heartbeats do not wait for it.

use crate::master::Master;
use goosefs_core::checksum::crc32c_append;
use goosefs_core::proto::internal::{DigestRequest, DigestResponse};
use goosefs_core::{Code, Error, Result};
use std::io::{self, Write};
use std::sync::Arc;

pub(super) async fn digest(master: Arc<Master>, _: DigestRequest) -> Result<DigestResponse> {
    let alone = master.digests.clone().try_acquire_owned();
    let alone = alone.map_err(|_| Error::new(Code::Busy, "this master makes another digest already"))?;
    let work = move || {
        let _alone = alone;
        let (index, image) = {
            let namespace = master.journal.state().read();
            (namespace.last_index(), namespace.freeze())
        };
        let mut sum = Sum::default();
        image.write(&mut sum).map_err(|cause| Error::io("write an image", cause))?;
        Ok(DigestResponse { index, length: sum.length, checksum: sum.checksum })
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|cause| Error::new(Code::Internal, "making a digest panicked").caused_by(cause))?
}

/// Takes bytes and keeps their number and checksum.
#[derive(Default)]
struct Sum {
    length: u64,
    checksum: u32,
}

impl Write for Sum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.length += bytes.len() as u64;
        self.checksum = crc32c_append(self.checksum, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
