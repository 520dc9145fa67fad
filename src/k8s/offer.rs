//! A backup that is offered to the master that founds a cluster.
//!
//! Runs in a pod of its own, which has the claim or folder that the backup lies in, so that masters need neither. It asks nobody who he is, as masters do not, and lives
//! for the seconds in which the cluster begins. Started by
//! `goosefs controller offer-backup`; [`crate::controller`] makes the pod and tells masters where it is.

use async_trait::async_trait;
use goosefs_core::proto::internal::{Empty, HelloRequest, HelloResponse};
use goosefs_core::proto::method;
use goosefs_core::raft::{Backup, check_backup, send_backup};
use goosefs_core::rpc::frame::{Call, FrameService, Peer};
use goosefs_core::rpc::server;
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Checks the backup and sends it to whoever asks, until the tasks end.
///
/// # Errors
/// Those of [`check_backup`]; when the address cannot be listened on.
pub async fn offer(file: &Path, address: &str, tasks: &Tasks) -> Result<Backup> {
    let whole = check_backup(file)?;
    let listener = server::bind("offer of a backup", address).await?;
    let frames = Arc::new(Offer { file: file.to_owned() });
    server::serve("offer", listener, tonic::service::Routes::default(), Some(frames), tasks)?;
    Ok(whole)
}

struct Offer {
    file: PathBuf,
}

#[async_trait]
impl FrameService for Offer {
    fn hello(&self, _: &Peer, _: &HelloRequest) -> Result<HelloResponse> {
        Ok(HelloResponse { version: 1, ..HelloResponse::default() })
    }

    async fn call(&self, call: Call) {
        if call.method != method::BACKUP {
            let error = Error::new(Code::Unimplemented, format!("{} is not offered here", call.method.name));
            return call.answer::<Empty>(Err(error)).await;
        }
        match File::open(&self.file) {
            Ok(file) => send_backup(call, file).await,
            Err(error) => call.finish(Err(Error::io("open the backup", error))).await,
        }
    }
}
