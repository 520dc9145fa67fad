//! `JournalMasterClientService` and `Operator`: who the masters are, and what operators change about that.
//!
//! Addresses are those of the Raft ports, as in the vendor's commands.

use super::{administer, answer};
use crate::master::Master;
use goosefs_core::proto::internal::operator_server::Operator;
use goosefs_core::proto::internal::{AddMasterRequest, AddMasterResponse, Caller};
use goosefs_core::proto::public::NetAddress;
use goosefs_core::proto::public::journal::journal_master_client_service_server::JournalMasterClientService;
use goosefs_core::proto::public::journal::{
    GetQuorumInfoPRequest, GetQuorumInfoPResponse, GetTransferLeaderMessagePRequest,
    GetTransferLeaderMessagePResponse, JournalDomain, QuorumServerInfo, QuorumServerState,
    RemoveQuorumServerPRequest, RemoveQuorumServerPResponse, ResetPrioritiesPRequest,
    ResetPrioritiesPResponse, TransferLeaderMessage, TransferLeadershipPRequest, TransferLeadershipPResponse,
};
use goosefs_core::raft::Server;
use goosefs_core::{Code, Error, Result};
use std::sync::Arc;
use tonic::{Request, Response, Status};

#[derive(Clone)]
pub(super) struct QuorumService {
    master: Arc<Master>,
}

impl QuorumService {
    pub(super) fn new(master: Arc<Master>) -> QuorumService {
        QuorumService { master }
    }
}

#[tonic::async_trait]
impl JournalMasterClientService for QuorumService {
    async fn get_quorum_info(
        &self,
        request: Request<GetQuorumInfoPRequest>,
    ) -> Result<Response<GetQuorumInfoPResponse>, Status> {
        // The leader answers if there is one; without, whoever is asked: that is when people want to know.
        answer(&self.master, "GetQuorumInfo", request, |master, _, _| async move {
            let servers = master.journal.node().quorum().servers;
            if servers.is_empty() {
                // Another master may know more.
                let problem = master.journal.node().status().borrow().problem.clone().unwrap_or_default();
                let text = format!("this master has no place in a cluster yet: {problem}");
                return Err(Error::new(Code::Unavailable, text));
            }
            Ok(GetQuorumInfoPResponse {
                domain: Some(JournalDomain::Master.into()),
                server_info: servers.iter().map(server_info).collect(),
            })
        })
        .await
    }

    async fn remove_quorum_server(
        &self,
        request: Request<RemoveQuorumServerPRequest>,
    ) -> Result<Response<RemoveQuorumServerPResponse>, Status> {
        administer(&self.master, "RemoveQuorumServer", request, |master, _, request| async move {
            master.journal.node().remove_master(&address_of(request.server_address)?).await?;
            Ok(RemoveQuorumServerPResponse {})
        })
        .await
    }

    async fn transfer_leadership(
        &self,
        request: Request<TransferLeadershipPRequest>,
    ) -> Result<Response<TransferLeadershipPResponse>, Status> {
        administer(&self.master, "TransferLeadership", request, |master, _, request| async move {
            master.journal.node().elect(&address_of(request.server_address)?).await?;
            Ok(TransferLeadershipPResponse { transfer_id: Some(uuid::Uuid::new_v4().to_string()) })
        })
        .await
    }

    async fn reset_priorities(
        &self,
        request: Request<ResetPrioritiesPRequest>,
    ) -> Result<Response<ResetPrioritiesPResponse>, Status> {
        // Every master always has the same.
        answer(&self.master, "ResetPriorities", request, |_, _, _| async { Ok(ResetPrioritiesPResponse {}) })
            .await
    }

    async fn get_transfer_leader_message(
        &self,
        request: Request<GetTransferLeaderMessagePRequest>,
    ) -> Result<Response<GetTransferLeaderMessagePResponse>, Status> {
        // A transfer is answered when it is done, so nothing went wrong with one that has an id.
        answer(&self.master, "GetTransferLeaderMessage", request, |_, _, _| async {
            let message = TransferLeaderMessage { msg: Some(String::new()) };
            Ok(GetTransferLeaderMessagePResponse { trans_msg: Some(message) })
        })
        .await
    }
}

#[tonic::async_trait]
impl Operator for QuorumService {
    async fn add_master(
        &self,
        request: Request<AddMasterRequest>,
    ) -> Result<Response<AddMasterResponse>, Status> {
        administer(&self.master, "AddMaster", request, add).await
    }
}

async fn add(master: Arc<Master>, _: Caller, request: AddMasterRequest) -> Result<AddMasterResponse> {
    Ok(AddMasterResponse { slot: master.journal.node().add_master(&request.address).await? })
}

fn server_info(server: &Server) -> QuorumServerInfo {
    let (host, port) = server.raft.rsplit_once(':').unwrap_or((&server.raft, "0"));
    let state = if server.available { QuorumServerState::Available } else { QuorumServerState::Unavailable };
    QuorumServerInfo {
        server_address: Some(NetAddress {
            host: Some(host.to_owned()),
            rpc_port: Some(port.parse().unwrap_or_default()),
        }),
        server_state: Some(state.into()),
        priority: Some(0),
        is_leader: Some(server.leads),
    }
}

/// # Errors
/// `InvalidArgument` when the request names no address.
fn address_of(address: Option<NetAddress>) -> Result<String> {
    match address {
        Some(NetAddress { host: Some(host), rpc_port: Some(port) }) if !host.is_empty() => {
            Ok(format!("{host}:{port}"))
        }
        _ => Err(Error::new(Code::InvalidArgument, "the request names no serverAddress")),
    }
}
