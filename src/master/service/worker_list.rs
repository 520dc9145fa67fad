//! `WorkerManagerMasterClientService`: who caches, and how much.
//!
//! Clients build their placement ring from `GetWorkerInfoList` without looking at a worker's state (`goosefs-sdk` 0.1.9
//! and 0.2.2), so it has only those that may be used.

use super::{answer, not_served};
use crate::master::Master;
use crate::service::files::net_address;
use crate::workers::Worker;
use goosefs_core::Result;
use goosefs_core::proto::internal::Caller;
use goosefs_core::proto::public::WorkerStatus;
use goosefs_core::proto::public::block;
use goosefs_core::proto::public::block::worker_manager_master_client_service_server::WorkerManagerMasterClientService;
use goosefs_core::proto::public::block::{
    GetCapacityBytesPOptions, GetCapacityBytesPResponse, GetUsedBytesPOptions, GetUsedBytesPResponse,
    GetWorkerInfoListPOptions, GetWorkerInfoListPResponse, GetWorkerLostStoragePOptions,
    GetWorkerLostStoragePResponse, GetWorkerManagerMasterInfoPOptions, GetWorkerManagerMasterInfoPResponse,
    GetWorkerReportPOptions, StorageList, WorkerInfo, WorkerLostStorageInfo, WorkerManagerMasterInfo,
    WorkerRange,
};
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub(super) struct WorkerList {
    master: Arc<Master>,
}

impl WorkerList {
    pub(super) fn new(master: Arc<Master>) -> WorkerList {
        WorkerList { master }
    }
}

macro_rules! worker_service {
    (
        served { $($method:ident($request:ident) -> $response:ident = $name:literal, $work:path;)* }
        refused { $($refused:ident($refused_request:ident) -> $refused_response:ident = $refused_name:literal;)* }
    ) => {
        #[tonic::async_trait]
        impl WorkerManagerMasterClientService for WorkerList {
            $(async fn $method(
                &self,
                request: Request<block::$request>,
            ) -> Result<Response<block::$response>, Status> {
                answer(&self.master, $name, request, $work).await
            })*

            $(async fn $refused(
                &self,
                _: Request<block::$refused_request>,
            ) -> Result<Response<block::$refused_response>, Status> {
                Err(not_served($refused_name))
            })*
        }
    };
}

worker_service! {
    served {
        get_worker_manager_master_info(GetWorkerManagerMasterInfoPOptions) -> GetWorkerManagerMasterInfoPResponse
            = "GetWorkerManagerMasterInfo", sums;
        get_capacity_bytes(GetCapacityBytesPOptions) -> GetCapacityBytesPResponse
            = "GetCapacityBytes", capacity;
        get_used_bytes(GetUsedBytesPOptions) -> GetUsedBytesPResponse = "GetUsedBytes", used;
        get_worker_info_list(GetWorkerInfoListPOptions) -> GetWorkerInfoListPResponse
            = "GetWorkerInfoList", ring;
        get_worker_report(GetWorkerReportPOptions) -> GetWorkerInfoListPResponse = "GetWorkerReport", report;
        get_worker_lost_storage(GetWorkerLostStoragePOptions) -> GetWorkerLostStoragePResponse
            = "GetWorkerLostStorage", lost_storage;
    }
    refused {
        manage_worker(ManageWorkerPRequest) -> ManageWorkerPResponse = "ManageWorker";
        update_cluster_rate_limit(UpdateClusterRateLimitPRequest) -> UpdateClusterRateLimitPResponse
            = "UpdateClusterRateLimit";
        get_cluster_rate_limit(GetClusterRateLimitPRequest) -> GetClusterRateLimitPResponse
            = "GetClusterRateLimit";
        block_apply_rate(BlockApplyRatePRequest) -> BlockApplyRatePResponse = "BlockApplyRate";
        start_migration(StartMigrationPRequest) -> StartMigrationPResponse = "StartMigration";
        pause_migration(PauseMigrationPRequest) -> PauseMigrationPResponse = "PauseMigration";
        cancel_migration(CancelMigrationPRequest) -> CancelMigrationPResponse = "CancelMigration";
        get_migration_progress(GetMigrationProgressPRequest) -> GetMigrationProgressPResponse
            = "GetMigrationProgress";
        activate_warming_up_workers(ActivateWarmingUpWorkersPRequest) -> ActivateWarmingUpWorkersPResponse
            = "ActivateWarmingUpWorkers";
    }
}

async fn sums(
    master: Arc<Master>,
    _: Caller,
    _: GetWorkerManagerMasterInfoPOptions,
) -> Result<GetWorkerManagerMasterInfoPResponse> {
    let all = master.workers.all();
    let live: Vec<&Worker> = all.iter().filter(|worker| worker.live).collect();
    let capacity: u64 = live.iter().map(|worker| worker.capacity()).sum();
    let used: u64 = live.iter().map(|worker| worker.used()).sum();
    let info = WorkerManagerMasterInfo {
        capacity_bytes: Some(signed(capacity)),
        free_bytes: Some(signed(capacity.saturating_sub(used))),
        live_worker_num: i32::try_from(live.len()).ok(),
        lost_worker_num: i32::try_from(all.len() - live.len()).ok(),
        used_bytes: Some(signed(used)),
    };
    Ok(GetWorkerManagerMasterInfoPResponse { worker_manager_master_info: Some(info) })
}

async fn capacity(
    master: Arc<Master>,
    _: Caller,
    _: GetCapacityBytesPOptions,
) -> Result<GetCapacityBytesPResponse> {
    let bytes = master.workers.live().iter().map(Worker::capacity).sum();
    Ok(GetCapacityBytesPResponse { bytes: Some(signed(bytes)) })
}

async fn used(master: Arc<Master>, _: Caller, _: GetUsedBytesPOptions) -> Result<GetUsedBytesPResponse> {
    let bytes = master.workers.live().iter().map(Worker::used).sum();
    Ok(GetUsedBytesPResponse { bytes: Some(signed(bytes)) })
}

async fn ring(
    master: Arc<Master>,
    _: Caller,
    _: GetWorkerInfoListPOptions,
) -> Result<GetWorkerInfoListPResponse> {
    Ok(infos(&master, &master.workers.ring()))
}

async fn report(
    master: Arc<Master>,
    _: Caller,
    request: GetWorkerReportPOptions,
) -> Result<GetWorkerInfoListPResponse> {
    let range = request.worker_range.and_then(|range| WorkerRange::try_from(range).ok());
    let wanted = |worker: &Worker| match range.unwrap_or(WorkerRange::All) {
        WorkerRange::All => true,
        WorkerRange::Live => worker.live,
        WorkerRange::Lost => !worker.live,
        WorkerRange::Specified => request.addresses.iter().any(|address| is_called(worker, address)),
        WorkerRange::ForbidWrite => worker.leaving,
    };
    let workers: Vec<Worker> = master.workers.all().into_iter().filter(wanted).collect();
    Ok(infos(&master, &workers))
}

/// Whether `address` (`host` or `host:port`) means this worker.
fn is_called(worker: &Worker, address: &str) -> bool {
    let known = &worker.address;
    address == known.host || address == format!("{}:{}", known.host, known.rpc_port)
}

async fn lost_storage(
    master: Arc<Master>,
    _: Caller,
    _: GetWorkerLostStoragePOptions,
) -> Result<GetWorkerLostStoragePResponse> {
    let failing = master.workers.all().into_iter().filter(|worker| !worker.lost_storage.is_empty());
    let info = |worker: Worker| WorkerLostStorageInfo {
        address: Some(net_address(&worker.address)),
        lost_storage: Some(StorageList { storage: worker.lost_storage }),
    };
    Ok(GetWorkerLostStoragePResponse { worker_lost_storage_info: failing.map(info).collect() })
}

fn infos(master: &Master, workers: &[Worker]) -> GetWorkerInfoListPResponse {
    let worker_infos = workers.iter().map(|worker| info(master, worker)).collect();
    GetWorkerInfoListPResponse { worker_infos, last_updated_timestamp: Some(signed(master.clock.now_ms())) }
}

fn info(master: &Master, worker: &Worker) -> WorkerInfo {
    let silent = master.workers.silent_for(worker.id).as_secs();
    let used = worker.used();
    WorkerInfo {
        id: Some(signed(worker.id.0)),
        address: Some(net_address(&worker.address)),
        last_contact_sec: Some(i32::try_from(silent).unwrap_or(i32::MAX)),
        state: Some(if worker.live { WorkerStatus::Active } else { WorkerStatus::Inactive } as i32),
        capacity_bytes: Some(signed(worker.capacity())),
        used_bytes: Some(signed(used)),
        cache_used_bytes: Some(signed(used.saturating_sub(worker.unpersisted))),
        persist_used_bytes: Some(signed(worker.unpersisted)),
        start_time_ms: Some(signed(worker.started_ms)),
        virtual_node_num: Some(worker.virtual_nodes.cast_signed()),
        alive: Some(worker.live),
        forbid_write: Some(worker.leaving),
        ..WorkerInfo::default()
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
