//! A backup that is offered to the master that founds a cluster.
//!
//! Runs in a pod of its own, which has the claim or folder that the backup lies in, so that masters need neither, and lives for
//! the seconds in which the cluster begins. Whoever fetches it must have the masters' control key. Started by
//! `goosefs controller offer-backup`; [`crate::controller`] makes the pod and tells masters where it is.

use async_trait::async_trait;
use goosefs_core::proto::internal::{Empty, HelloRequest, HelloResponse};
use goosefs_core::proto::method;
use goosefs_core::raft::{Backup, check_backup, send_backup};
use goosefs_core::rpc::control::{KeyFile, Proof};
use goosefs_core::rpc::frame::{Call, FrameService, Peer};
use goosefs_core::rpc::server;
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Checks the backup and sends it to whoever asks, and has `key` if there is one, until the tasks end.
///
/// # Errors
/// Those of [`check_backup`]; when the address cannot be listened on.
pub async fn offer(file: &Path, address: &str, key: Option<KeyFile>, tasks: &Tasks) -> Result<Backup> {
    let whole = check_backup(file)?;
    let listener = server::bind("offer of a backup", address).await?;
    let frames = Arc::new(Offer { file: file.to_owned(), key });
    server::serve("offer", listener, tonic::service::Routes::default(), Some(frames), tasks)?;
    Ok(whole)
}

struct Offer {
    file: PathBuf,
    key: Option<KeyFile>,
}

#[async_trait]
impl FrameService for Offer {
    fn hello(&self, _: &Peer, _: &HelloRequest) -> Result<HelloResponse> {
        Ok(HelloResponse { version: 1, ..HelloResponse::default() })
    }

    fn control(&self) -> Option<&KeyFile> {
        self.key.as_ref()
    }

    async fn call(&self, call: Call) {
        if call.method != method::BACKUP {
            let error = Error::new(Code::Unimplemented, format!("{} is not offered here", call.method.name));
            return call.answer::<Empty>(Err(error)).await;
        }
        if self.key.is_some() && call.peer.proof() != Proof::Given {
            let error =
                Error::new(Code::PermissionDenied, "a backup is for who has the masters' control key");
            return call.answer::<Empty>(Err(error)).await;
        }
        match File::open(&self.file) {
            Ok(file) => send_backup(call, file).await,
            Err(error) => call.finish(Err(Error::io("open the backup", error))).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goosefs_core::proto::internal::BackupRequest;
    use goosefs_core::rpc::control::ControlKey;
    use goosefs_core::rpc::frame::{Channel, Target};
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_backup_is_given_to_who_has_the_key_and_to_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let (file, key_file) = (folder.path().join("backup"), folder.path().join("key"));
        let (key, other) = (ControlKey::generate().unwrap(), ControlKey::generate().unwrap());
        std::fs::write(&file, "names").unwrap();
        std::fs::write(&key_file, key.text()).unwrap();
        let tasks = Tasks::new("test");
        let frames = Arc::new(Offer { file, key: Some(KeyFile::open(&key_file).unwrap()) });
        let listener = server::bind("offer", "127.0.0.1:0").await.unwrap();
        let routes = tonic::service::Routes::default();
        let address = server::serve("offer", listener, routes, Some(frames), &tasks).unwrap();
        let target = Target::Tcp(address.to_string());
        let fetched = async |key: Option<&ControlKey>| {
            let hello = HelloRequest { version: 1, ..HelloRequest::default() };
            let channel = Channel::connect_proven(&target, hello, key, &tasks, LONG).await?;
            channel.read(method::BACKUP, &BackupRequest {}).await?.next().await
        };
        for key in [None, Some(&other)] {
            assert_eq!(fetched(key).await.unwrap_err().code, Code::PermissionDenied, "{key:?}");
        }
        assert_eq!(fetched(Some(&key)).await.unwrap().unwrap(), "names");
    }
}
