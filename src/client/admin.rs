//! What only the public GooseFS protocol has: mounts, free, trees, reports. Rare calls, so plain gRPC.
//!
//! Any master may be dialled: standbys forward. A call that fails because a master or the leader is away is made again,
//! at the next master, until the deadline; calls that change something carry an operation id, so that a repetition is
//! answered and not done again.

mod login;
mod masters;
mod rounds;

pub use masters::{Backup, QuorumServer};

use crate::config::Config;
use goosefs_core::path::NsPath;
use goosefs_core::proto::internal::operator_client::OperatorClient;
use goosefs_core::proto::public::block::worker_manager_master_client_service_client::WorkerManagerMasterClientServiceClient as WorkersClient;
use goosefs_core::proto::public::block::{
    GetWorkerInfoListPOptions, GetWorkerLostStoragePOptions, GetWorkerManagerMasterInfoPOptions,
    GetWorkerReportPOptions, WorkerInfo, WorkerInfoField, WorkerLostStorageInfo, WorkerManagerMasterInfo,
    WorkerRange,
};
use goosefs_core::proto::public::file::file_system_master_client_service_client::FileSystemMasterClientServiceClient as FilesClient;
use goosefs_core::proto::public::file::{
    CreateDirectoryPOptions, CreateDirectoryPRequest, DeletePOptions, DeletePRequest, FileInfo,
    FileSystemMasterCommonPOptions, FreePOptions, FreePRequest, FreePResponse, FsOpPId,
    GetMountTablePRequest, GetStatusPOptions, GetStatusPRequest, ListStatusPOptions, ListStatusPRequest,
    LoadMetadataPType, MountPOptions, MountPRequest, MountPointInfo, RenamePOptions, RenamePRequest,
    UnmountPOptions, UnmountPRequest, UpdateMountPRequest,
};
use goosefs_core::proto::public::journal::journal_master_client_service_client::JournalMasterClientServiceClient as JournalClient;
use goosefs_core::proto::public::meta::meta_master_client_service_client::MetaMasterClientServiceClient as MetaClient;
use goosefs_core::rpc::masters::Masters;
use goosefs_core::{Code, Error, Result};
use rounds::Rounds;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The public protocol's side of the masters. Cheap to clone.
///
/// Errors are the masters', or `Unavailable` when none answered until the deadline.
#[derive(Clone, Debug)]
pub struct Admin {
    rounds: Arc<Rounds>,
}

/// How a mount behaves.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MountSettings {
    /// Takes no writes.
    pub read_only: bool,
    /// Open to all users.
    pub shared: bool,
    /// Settings of the under-storage's connector.
    pub options: BTreeMap<String, String>,
}

impl MountSettings {
    fn into_options(self) -> MountPOptions {
        MountPOptions {
            read_only: Some(self.read_only),
            shared: Some(self.shared),
            properties: self.options.into_iter().collect(),
            common_options: Some(operation()),
        }
    }
}

impl Admin {
    pub(crate) fn new(config: &Config, masters: &Masters) -> Admin {
        Admin { rounds: Arc::new(Rounds::new(config, masters.clone())) }
    }

    /// A path's status, with what is cached of it. `sync_interval_ms` as in [`Admin::list`].
    ///
    /// # Errors
    /// `NotFound`, `Ufs`.
    pub async fn status(&self, path: &NsPath, sync_interval_ms: Option<i64>) -> Result<FileInfo> {
        let request = GetStatusPRequest {
            path: Some(path.as_str().to_owned()),
            options: Some(GetStatusPOptions {
                load_metadata_type: Some(LoadMetadataPType::Once.into()),
                common_options: sync(sync_interval_ms),
                ..GetStatusPOptions::default()
            }),
            request_id: None,
        };
        let answer = self
            .rounds
            .call(|login| {
                let request = request.clone();
                async move { Ok(login.files().get_status(request).await?.into_inner()) }
            })
            .await?;
        answer.file_info.ok_or_else(|| Error::new(Code::Internal, format!("{path}: no status in the answer")))
    }

    /// A directory's children, or the file itself. `sync_interval_ms`: metadata older than this is checked against the
    /// under-storage first (0 always, -1 never, none for the masters' setting).
    ///
    /// # Errors
    /// `NotFound`, `Ufs`.
    pub async fn list(&self, path: &NsPath, sync_interval_ms: Option<i64>) -> Result<Vec<FileInfo>> {
        let request = ListStatusPRequest {
            path: Some(path.as_str().to_owned()),
            options: Some(ListStatusPOptions {
                load_metadata_type: Some(LoadMetadataPType::Once.into()),
                common_options: sync(sync_interval_ms),
                ..ListStatusPOptions::default()
            }),
            request_id: None,
        };
        self.rounds
            .call(|login| {
                let request = request.clone();
                async move {
                    let mut batches = login.files().list_status(request).await?.into_inner();
                    let mut all = Vec::new();
                    while let Some(batch) = batches.message().await? {
                        all.extend(batch.file_infos);
                    }
                    Ok(all)
                }
            })
            .await
    }

    /// Makes a directory; `recursive` makes missing parents, `allow_exists` takes an existing one for success.
    ///
    /// # Errors
    /// `AlreadyExists`, `NotFound`, `ReadOnly`, `PermissionDenied`.
    pub async fn make_dir(&self, path: &NsPath, recursive: bool, allow_exists: bool) -> Result<()> {
        let request = CreateDirectoryPRequest {
            path: Some(path.as_str().to_owned()),
            options: Some(CreateDirectoryPOptions {
                recursive: Some(recursive),
                allow_exists: Some(allow_exists),
                common_options: Some(operation()),
                ..CreateDirectoryPOptions::default()
            }),
        };
        self.rounds
            .call(|login| {
                let request = request.clone();
                async move {
                    login.files().create_directory(request).await?;
                    Ok(())
                }
            })
            .await
    }

    /// Removes a file or a directory, with `recursive` all below it; with `cache_only` the under-storage stays as it is.
    ///
    /// # Errors
    /// `NotFound`, `NotEmpty`, `ReadOnly`, `PermissionDenied`.
    pub async fn remove(&self, path: &NsPath, recursive: bool, cache_only: bool) -> Result<()> {
        let request = DeletePRequest {
            path: Some(path.as_str().to_owned()),
            options: Some(DeletePOptions {
                recursive: Some(recursive),
                goosefs_only: Some(cache_only),
                common_options: Some(operation()),
                ..DeletePOptions::default()
            }),
        };
        self.rounds
            .call(|login| {
                let request = request.clone();
                async move {
                    login.files().remove(request).await?;
                    Ok(())
                }
            })
            .await
    }

    /// Moves `from` to `to`, which must not exist.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists`, `CrossMount`, `ReadOnly`, `PermissionDenied`.
    pub async fn rename(&self, from: &NsPath, to: &NsPath) -> Result<()> {
        let request = RenamePRequest {
            path: Some(from.as_str().to_owned()),
            dst_path: Some(to.as_str().to_owned()),
            options: Some(RenamePOptions { common_options: Some(operation()), persist: None }),
        };
        self.rounds
            .call(|login| {
                let request = request.clone();
                async move {
                    login.files().rename(request).await?;
                    Ok(())
                }
            })
            .await
    }

    /// Drops what is cached of a file or, with `recursive`, of all below a directory; with `forced` pinned files, too. Says
    /// what stayed.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` for a directory without `recursive`, and for a file that is pinned or that only the
    /// cache has.
    pub async fn free(&self, path: &NsPath, recursive: bool, forced: bool) -> Result<FreePResponse> {
        let request = FreePRequest {
            path: Some(path.as_str().to_owned()),
            options: Some(FreePOptions {
                recursive: Some(recursive),
                forced: Some(forced),
                common_options: Some(operation()),
                ..FreePOptions::default()
            }),
        };
        self.rounds
            .call(|login| {
                let request = request.clone();
                async move { Ok(login.files().free(request).await?.into_inner()) }
            })
            .await
    }

    /// Mounts an under-storage's URI at `path`, which must not exist yet.
    ///
    /// # Errors
    /// `AlreadyExists`, `InvalidArgument` for a URI nobody understands, `Ufs` when it cannot be reached.
    pub async fn mount(&self, path: &NsPath, ufs: &str, settings: MountSettings) -> Result<()> {
        let request = MountPRequest {
            goosefs_path: Some(path.as_str().to_owned()),
            ufs_path: Some(ufs.to_owned()),
            options: Some(settings.into_options()),
        };
        self.rounds
            .call(|login| {
                let request = request.clone();
                async move {
                    login.files().mount(request).await?;
                    Ok(())
                }
            })
            .await
    }

    /// Takes a mount away; what was cached of it is dropped, with `force` also what only the cache has.
    ///
    /// # Errors
    /// `NotFound` when `path` is no mount point, `InvalidArgument` for the root; without `force` `NotEmpty` when only the
    /// cache has something.
    pub async fn unmount(&self, path: &NsPath, force: bool) -> Result<()> {
        let request = UnmountPRequest {
            goosefs_path: Some(path.as_str().to_owned()),
            options: Some(UnmountPOptions { common_options: Some(operation()), force: Some(force) }),
        };
        self.rounds
            .call(|login| {
                let request = request.clone();
                async move {
                    login.files().unmount(request).await?;
                    Ok(())
                }
            })
            .await
    }

    /// Replaces a mount's settings.
    ///
    /// # Errors
    /// `NotFound` when `path` is no mount point.
    pub async fn update_mount(&self, path: &NsPath, settings: MountSettings) -> Result<()> {
        let request = UpdateMountPRequest {
            goosefs_path: Some(path.as_str().to_owned()),
            options: Some(settings.into_options()),
        };
        self.rounds
            .call(|login| {
                let request = request.clone();
                async move {
                    login.files().update_mount(request).await?;
                    Ok(())
                }
            })
            .await
    }

    /// The mount table by path, secrets masked.
    ///
    /// # Errors
    /// When no master answers.
    pub async fn mounts(&self) -> Result<BTreeMap<String, MountPointInfo>> {
        let answer = self
            .rounds
            .call(|login| async move {
                Ok(login.files().get_mount_table(GetMountTablePRequest {}).await?.into_inner())
            })
            .await?;
        Ok(answer.mount_points.into_iter().collect())
    }

    /// The workers that clients of the protocol are told of.
    ///
    /// # Errors
    /// When no master answers.
    pub async fn workers(&self) -> Result<Vec<WorkerInfo>> {
        let answer = self
            .rounds
            .call(|login| async move {
                Ok(login.workers().get_worker_info_list(GetWorkerInfoListPOptions {}).await?.into_inner())
            })
            .await?;
        Ok(answer.worker_infos)
    }

    /// Every field of the workers of `range`; `addresses` counts with `WorkerRange::Specified` alone.
    ///
    /// # Errors
    /// When no master answers.
    pub async fn worker_report(&self, range: WorkerRange, addresses: Vec<String>) -> Result<Vec<WorkerInfo>> {
        let fields = [
            WorkerInfoField::WorkerCapacityBytes,
            WorkerInfoField::Id,
            WorkerInfoField::LastContactSec,
            WorkerInfoField::StartTimeMs,
            WorkerInfoField::WorkerUsedBytes,
            WorkerInfoField::WorkerCacheUsedBytes,
            WorkerInfoField::WorkerPersistUsedBytes,
        ];
        let options = GetWorkerReportPOptions {
            addresses,
            field_ranges: fields.into_iter().map(i32::from).collect(),
            worker_range: Some(range.into()),
        };
        let answer = self
            .rounds
            .call(|login| {
                let options = options.clone();
                async move { Ok(login.workers().get_worker_report(options).await?.into_inner()) }
            })
            .await?;
        Ok(answer.worker_infos)
    }

    /// Capacity, use and the numbers of workers.
    ///
    /// # Errors
    /// When no master answers.
    pub async fn summary(&self) -> Result<WorkerManagerMasterInfo> {
        let answer = self
            .rounds
            .call(|login| async move {
                let options = GetWorkerManagerMasterInfoPOptions::default();
                Ok(login.workers().get_worker_manager_master_info(options).await?.into_inner())
            })
            .await?;
        Ok(answer.worker_manager_master_info.unwrap_or_default())
    }

    /// Cache directories that failed, by worker.
    ///
    /// # Errors
    /// When no master answers.
    pub async fn lost_storage(&self) -> Result<Vec<WorkerLostStorageInfo>> {
        let answer = self
            .rounds
            .call(|login| async move {
                let options = GetWorkerLostStoragePOptions {};
                Ok(login.workers().get_worker_lost_storage(options).await?.into_inner())
            })
            .await?;
        Ok(answer.worker_lost_storage_info)
    }
}

/// Names a change, so that its repetition is answered and not done again.
fn operation() -> FileSystemMasterCommonPOptions {
    let (most, least) = uuid::Uuid::new_v4().as_u64_pair();
    let id = FsOpPId {
        most_significant_bits: Some(most.cast_signed()),
        least_significant_bits: Some(least.cast_signed()),
    };
    FileSystemMasterCommonPOptions { operation_id: Some(id), ..FileSystemMasterCommonPOptions::default() }
}

fn sync(interval_ms: Option<i64>) -> Option<FileSystemMasterCommonPOptions> {
    let interval = interval_ms?;
    Some(FileSystemMasterCommonPOptions {
        sync_interval_ms: Some(interval),
        ..FileSystemMasterCommonPOptions::default()
    })
}
