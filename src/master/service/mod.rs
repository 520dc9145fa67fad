//! What a master answers.
//!
//! | file | speaks |
//! |---|---|
//! | [`files`] | `FileSystemMasterClientService`: the namespace by path, one file per family of calls |
//! | [`worker_list`] | `WorkerManagerMasterClientService`: who caches, how much |
//! | [`reports`] | `MetricsMasterClientService` |
//! | [`quorum`] | `JournalMasterClientService` and `Operator`: who the masters are |
//! | [`meta`] | `MetaMasterClientService`: backups and checkpoints |
//! | [`version`] | `ServiceVersionClientService`: how clients find the leader |
//! | [`frames`] | our own framed service: the inode service, versions, heartbeats |
//! | [`forward`] | what a standby does with calls that only the leader can answer |

mod files;
mod forward;
mod frames;
mod meta;
mod quorum;
mod reports;
mod version;
mod worker_list;

pub(crate) use frames::Frames;
pub(crate) use frames::backups::forget as forget_backups;

use crate::journal::Op;
use crate::master::Master;
use files::Files;
use forward::{Forwarded, Forwarder};
use goosefs_core::Result;
use goosefs_core::proto::internal::operator_server::OperatorServer;
use goosefs_core::proto::internal::{Caller, VendorOp};
use goosefs_core::proto::public::block::worker_manager_master_client_service_server::WorkerManagerMasterClientServiceServer;
use goosefs_core::proto::public::file::FileSystemMasterCommonPOptions;
use goosefs_core::proto::public::file::file_system_master_client_service_server::FileSystemMasterClientServiceServer;
use goosefs_core::proto::public::journal::journal_master_client_service_server::JournalMasterClientServiceServer;
use goosefs_core::proto::public::meta::meta_master_client_service_server::MetaMasterClientServiceServer;
use goosefs_core::proto::public::metric::metrics_master_client_service_server::MetricsMasterClientServiceServer;
use goosefs_core::proto::public::version::service_version_client_service_server::ServiceVersionClientServiceServer;
use goosefs_core::rpc::sasl::Sasl;
use meta::Meta;
use quorum::QuorumService;
use reports::Reports;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;
use tonic::service::Routes;
use version::Version;
use worker_list::WorkerList;

/// The largest request that is taken; a standby keeps a request whole while it waits for a leader.
const LARGEST_REQUEST: usize = 4 << 20;

/// What clients reach on the RPC port: answered here by the leader, handed to the leader by everyone else.
pub(crate) fn client_routes(master: &Arc<Master>) -> Routes {
    let forwarder = Arc::new(Forwarder::new(master.clone()));
    Routes::new(Forwarded::new(
        FileSystemMasterClientServiceServer::new(Files::new(master.clone())),
        forwarder.clone(),
    ))
    .add_service(Forwarded::new(
        WorkerManagerMasterClientServiceServer::new(WorkerList::new(master.clone())),
        forwarder.clone(),
    ))
    .add_service(Forwarded::new(
        MetricsMasterClientServiceServer::new(Reports::new(master.clone())),
        forwarder.clone(),
    ))
    .add_service(Forwarded::new(
        JournalMasterClientServiceServer::new(QuorumService::new(master.clone())),
        forwarder.clone(),
    ))
    .add_service(Forwarded::new(OperatorServer::new(QuorumService::new(master.clone())), forwarder.clone()))
    .add_service(Forwarded::new(MetaMasterClientServiceServer::new(Meta::new(master.clone())), forwarder))
    .add_service(ServiceVersionClientServiceServer::new(Version::new(master.clone())))
}

/// What standbys reach on the Raft port: answered here or refused, never handed on, so that no call goes in circles.
pub(crate) fn forwarded_routes(master: &Arc<Master>) -> Routes {
    Routes::new(FileSystemMasterClientServiceServer::new(Files::new(master.clone())))
        .add_service(WorkerManagerMasterClientServiceServer::new(WorkerList::new(master.clone())))
        .add_service(MetricsMasterClientServiceServer::new(Reports::new(master.clone())))
        .add_service(JournalMasterClientServiceServer::new(QuorumService::new(master.clone())))
        .add_service(OperatorServer::new(QuorumService::new(master.clone())))
        .add_service(MetaMasterClientServiceServer::new(Meta::new(master.clone())))
}

/// Answers one gRPC call: who calls, how long it took, what came of it.
async fn answer<Q, A, W>(
    master: &Arc<Master>,
    method: &'static str,
    request: tonic::Request<Q>,
    work: impl FnOnce(Arc<Master>, Caller, Q) -> W,
) -> Result<tonic::Response<A>, tonic::Status>
where
    W: Future<Output = Result<A>>,
{
    let started = Instant::now();
    let outcome = match Sasl::caller(&request) {
        Ok(caller) => work(master.clone(), caller, request.into_inner()).await,
        Err(error) => Err(error),
    };
    master.metrics.rpc(method, started.elapsed(), outcome.is_ok());
    match outcome {
        Ok(answer) => Ok(tonic::Response::new(answer)),
        Err(error) => {
            tracing::debug!(method, %error, "call failed");
            Err(error.into())
        }
    }
}

/// As [`answer`], for what only superusers may do.
async fn administer<Q, A, W>(
    master: &Arc<Master>,
    method: &'static str,
    request: tonic::Request<Q>,
    work: impl FnOnce(Arc<Master>, Caller, Q) -> W,
) -> Result<tonic::Response<A>, tonic::Status>
where
    W: Future<Output = Result<A>>,
{
    let proof = Sasl::proof(&request);
    answer(master, method, request, |master, caller, request| async move {
        master
            .authority
            .of_administrator(&caller, proof)
            .await
            .administer("change or back up the masters")?;
        work(master, caller, request).await
    })
    .await
}

/// Which operation the common options name.
fn vendor_op(common: Option<&FileSystemMasterCommonPOptions>) -> Op {
    let Some(id) = common.and_then(|common| common.operation_id) else { return Op::Unnumbered };
    let most = id.most_significant_bits.unwrap_or_default().cast_unsigned();
    let least = id.least_significant_bits.unwrap_or_default().cast_unsigned();
    Op::Vendor(VendorOp { most, least })
}

/// A call that is declared in the protocol and not served by this version.
fn not_served(method: &'static str) -> tonic::Status {
    goosefs_core::Error::new(
        goosefs_core::Code::Unimplemented,
        format!("{method} is not served by this version"),
    )
    .into()
}
