//! The masters themselves: quorum, checkpoints, backups.

use super::Admin;
use goosefs_core::proto::internal::AddMasterRequest;
use goosefs_core::proto::public::NetAddress;
use goosefs_core::proto::public::journal::{
    GetQuorumInfoPRequest, QuorumServerState, RemoveQuorumServerPRequest, TransferLeadershipPRequest,
};
use goosefs_core::proto::public::meta::{BackupPOptions, BackupPRequest, CheckpointPOptions};
use goosefs_core::{Code, Error, Result};

/// One voting master.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuorumServer {
    /// `host:port` of its Raft port.
    pub address: String,
    /// It has answered the others lately.
    pub available: bool,
    /// It leads.
    pub leads: bool,
    /// Which of those that can lead is preferred.
    pub priority: i32,
}

/// A backup that a master has written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Backup {
    /// The master's host.
    pub host: String,
    /// Where on it the backup lies.
    pub uri: String,
    /// Records in it.
    pub entries: i64,
}

impl Admin {
    /// The voting masters in the order of their ids, as the leader sees them; while none leads, as any of them does.
    ///
    /// # Errors
    /// When no master answers.
    pub async fn quorum(&self) -> Result<Vec<QuorumServer>> {
        let answer = self
            .rounds
            .call(|login| async move {
                Ok(login.journal().get_quorum_info(GetQuorumInfoPRequest::default()).await?.into_inner())
            })
            .await?;
        let server = |info: goosefs_core::proto::public::journal::QuorumServerInfo| {
            let address = info.server_address.clone().unwrap_or_default();
            QuorumServer {
                address: format!("{}:{}", address.host(), address.rpc_port()),
                available: info.server_state() == QuorumServerState::Available,
                leads: info.is_leader(),
                priority: info.priority(),
            }
        };
        Ok(answer.server_info.into_iter().map(server).collect())
    }

    /// Makes the master at this Raft address the leader.
    ///
    /// # Errors
    /// `NotFound` when it does not vote; `InvalidArgument` when it does not answer.
    pub async fn elect(&self, address: &str) -> Result<()> {
        let server_address = Some(net_address(address)?);
        let request = TransferLeadershipPRequest { options: None, server_address };
        self.rounds
            .call(|login| {
                let request = request.clone();
                async move {
                    login.journal().transfer_leadership(request).await?;
                    Ok(())
                }
            })
            .await
    }

    /// Takes the master at this Raft address out of the quorum; it may be gone already.
    ///
    /// # Errors
    /// `NotFound` when it does not vote; `InvalidArgument` for the last one and when too few of the others answer.
    pub async fn remove_master(&self, address: &str) -> Result<()> {
        let server_address = Some(net_address(address)?);
        let request = RemoveQuorumServerPRequest { options: None, server_address };
        self.rounds
            .call(|login| {
                let request = request.clone();
                async move {
                    login.journal().remove_quorum_server(request).await?;
                    Ok(())
                }
            })
            .await
    }

    /// Takes the master that was started at this Raft address into the quorum, and waits until it votes.
    ///
    /// # Errors
    /// `InvalidArgument` when nobody answers there or its id is taken; `WrongCluster`.
    pub async fn add_master(&self, address: &str) -> Result<()> {
        net_address(address)?;
        let request = AddMasterRequest { address: address.to_owned() };
        self.rounds
            .call(|login| {
                let request = request.clone();
                async move {
                    login.operator().add_master(request).await?;
                    Ok(())
                }
            })
            .await
    }

    /// Has the leader take a snapshot. Its host.
    ///
    /// # Errors
    /// When no master leads, or its disk is full.
    pub async fn checkpoint(&self) -> Result<String> {
        let answer = self
            .rounds
            .call(
                |login| async move { Ok(login.meta().checkpoint(CheckpointPOptions {}).await?.into_inner()) },
            )
            .await?;
        Ok(answer.master_hostname().to_owned())
    }

    /// Has one master, the first that answers, write a backup into `folder`: on the root storage, or with `local` on the
    /// master's machine; without a folder where the masters' configuration says.
    ///
    /// # Errors
    /// `ReadOnly` when the root storage takes none, `InvalidArgument`, `PermissionDenied`.
    pub async fn backup(&self, folder: Option<&str>, local: bool) -> Result<Backup> {
        let options = BackupPOptions { local_file_system: Some(local), ..BackupPOptions::default() };
        let request = BackupPRequest { options: Some(options), target_directory: folder.map(str::to_owned) };
        let status = self
            .rounds
            .call(|login| {
                let request = request.clone();
                async move { Ok(login.meta().backup(request).await?.into_inner()) }
            })
            .await?;
        Ok(Backup {
            host: status.backup_host().to_owned(),
            uri: status.backup_uri().to_owned(),
            entries: status.entry_count(),
        })
    }
}

/// # Errors
/// `InvalidArgument` for what is not host:port.
fn net_address(address: &str) -> Result<NetAddress> {
    let parts = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    match parts {
        Some((host, port)) if !host.is_empty() => {
            Ok(NetAddress { host: Some(host.to_owned()), rpc_port: Some(port.into()) })
        }
        _ => Err(Error::new(Code::InvalidArgument, format!("\"{address}\" is not host:port"))),
    }
}
