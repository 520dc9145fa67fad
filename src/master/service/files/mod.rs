//! `FileSystemMasterClientService`: the namespace by path, as clients of the GooseFS protocol see it.
//!
//! | file | calls |
//! |---|---|
//! | `look` | status, listings, link targets, paths of ids |
//! | `make` | files, directories, symlinks, and the end of writing |
//! | `change` | remove, rename, attributes |
//! | `cache` | free, block removal, persisting |
//! | `mount` | the mount table |
//! | `info` | `FileInfo`, which most answers carry |
//!
//! What the protocol declares and this version does not serve is refused with UNIMPLEMENTED and its name.

mod cache;
mod change;
mod info;
mod look;
mod make;
mod mount;

pub(super) use info::net_address;

use super::{answer, not_served};
use crate::master::Master;
use futures::stream::BoxStream;
use goosefs_core::path::NsPath;
use goosefs_core::proto::public::PMode;
use goosefs_core::proto::public::file;
use goosefs_core::proto::public::file::file_system_master_client_service_server::FileSystemMasterClientService;
use goosefs_core::{Code, Error};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service.
pub(super) struct Files {
    master: Arc<Master>,
}

impl Files {
    pub(super) fn new(master: Arc<Master>) -> Files {
        Files { master }
    }
}

macro_rules! file_system_service {
    (
        served { $($method:ident($request:ident) -> $response:ty = $name:literal, $work:path;)* }
        refused { $($refused:ident($refused_request:ident) -> $refused_response:ty = $refused_name:literal;)* }
    ) => {
        #[tonic::async_trait]
        impl FileSystemMasterClientService for Files {
            type ListStatusStream = BoxStream<'static, Result<file::ListStatusPResponse, Status>>;
            type ListNamespaceStream = BoxStream<'static, Result<file::ListNamespacePResponse, Status>>;

            $(async fn $method(
                &self,
                request: Request<file::$request>,
            ) -> Result<Response<$response>, Status> {
                answer(&self.master, $name, request, $work).await
            })*

            $(async fn $refused(
                &self,
                _: Request<file::$refused_request>,
            ) -> Result<Response<$refused_response>, Status> {
                Err(not_served($refused_name))
            })*
        }
    };
}

file_system_service! {
    served {
        check_access(CheckAccessPRequest) -> file::CheckAccessPResponse = "CheckAccess", look::check_access;
        get_status(GetStatusPRequest) -> file::GetStatusPResponse = "GetStatus", look::get_status;
        get_status_batch(GetStatusBatchPRequest) -> file::GetStatusBatchPResponse
            = "GetStatusBatch", look::get_status_batch;
        list_status(ListStatusPRequest) -> Self::ListStatusStream = "ListStatus", look::list_status;
        get_file_path(GetFilePathPRequest) -> file::GetFilePathPResponse = "GetFilePath", look::get_file_path;
        get_link_target(GetLinkTargetPRequest) -> file::GetLinkTargetPResponse
            = "GetLinkTarget", look::get_link_target;
        create_directory(CreateDirectoryPRequest) -> file::CreateDirectoryPResponse
            = "CreateDirectory", make::create_directory;
        create_file(CreateFilePRequest) -> file::CreateFilePResponse = "CreateFile", make::create_file;
        complete_file(CompleteFilePRequest) -> file::CompleteFilePResponse
            = "CompleteFile", make::complete_file;
        commit_location(CommitLocationPRequest) -> file::CommitLocationPResponse
            = "CommitLocation", make::commit_location;
        create_symlink(CreateSymlinkPRequest) -> file::CreateSymlinkPResponse
            = "CreateSymlink", make::create_symlink;
        remove(DeletePRequest) -> file::DeletePResponse = "Remove", change::remove;
        rename(RenamePRequest) -> file::RenamePResponse = "Rename", change::rename;
        set_attribute(SetAttributePRequest) -> file::SetAttributePResponse
            = "SetAttribute", change::set_attribute;
        free(FreePRequest) -> file::FreePResponse = "Free", cache::free;
        remove_blocks(RemoveBlocksPRequest) -> file::RemoveBlocksPResponse
            = "RemoveBlocks", cache::remove_blocks;
        schedule_async_persistence(ScheduleAsyncPersistencePRequest)
            -> file::ScheduleAsyncPersistencePResponse
            = "ScheduleAsyncPersistence", cache::schedule_async_persistence;
        mount(MountPRequest) -> file::MountPResponse = "Mount", mount::mount;
        unmount(UnmountPRequest) -> file::UnmountPResponse = "Unmount", mount::unmount;
        update_mount(UpdateMountPRequest) -> file::UpdateMountPResponse = "UpdateMount", mount::update_mount;
        get_mount_point(GetMountPointPRequest) -> file::GetMountPointPResponse
            = "GetMountPoint", mount::get_mount_point;
        get_mount_table(GetMountTablePRequest) -> file::GetMountTablePResponse
            = "GetMountTable", mount::get_mount_table;
        reverse_resolve(ReverseResolvePRequest) -> file::ReverseResolvePResponse
            = "ReverseResolve", mount::reverse_resolve;
    }
    refused {
        check_consistency(CheckConsistencyPRequest) -> file::CheckConsistencyPResponse = "CheckConsistency";
        set_acl(SetAclPRequest) -> file::SetAclPResponse = "SetAcl";
        check_persistence_done(CheckPersistenceDonePRequest) -> file::CheckPersistenceDonePResponse
            = "checkPersistenceDone";
        retry_failed_persistence(RetryFailedPersistencePRequest) -> file::RetryFailedPersistencePResponse
            = "retryFailedPersistence";
        count_failed_persistence(CountFailedPersistencePRequest) -> file::CountFailedPersistencePResponse
            = "countFailedPersistence";
        list_failed_persistence(ListFailedPersistencePRequest) -> file::ListFailedPersistencePResponse
            = "listFailedPersistence";
        update_ufs_mode(UpdateUfsModePRequest) -> file::UpdateUfsModePResponse = "UpdateUfsMode";
        start_sync(StartSyncPRequest) -> file::StartSyncPResponse = "StartSync";
        stop_sync(StopSyncPRequest) -> file::StopSyncPResponse = "StopSync";
        get_sync_path_list(GetSyncPathListPRequest) -> file::GetSyncPathListPResponse = "GetSyncPathList";
        create_namespace(CreateNamespacePRequest) -> file::CreateNamespacePResponse = "CreateNamespace";
        update_namespace(UpdateNamespacePRequest) -> file::UpdateNamespacePResponse = "UpdateNamespace";
        delete_namespace(DeleteNamespacePRequest) -> file::DeleteNamespacePResponse = "DeleteNamespace";
        list_namespace(ListNamespacePRequest) -> Self::ListNamespaceStream = "ListNamespace";
        stat_namespace(StatNamespacePRequest) -> file::StatNamespacePResponse = "StatNamespace";
        set_namespace_attribute(SetNamespaceAttributePRequest) -> file::SetNamespaceAttributePResponse
            = "SetNamespaceAttribute";
        get_state_lock_holders(GetStateLockHoldersPRequest) -> file::GetStateLockHoldersPResponse
            = "GetStateLockHolders";
        get_delegation_token(GetDelegationTokenPRequest) -> file::GetDelegationTokenPResponse
            = "GetDelegationToken";
        renew_delegation_token(RenewDelegationTokenPRequest) -> file::RenewDelegationTokenPResponse
            = "RenewDelegationToken";
        cancel_delegation_token(CancelDelegationTokenPRequest) -> file::CancelDelegationTokenPResponse
            = "CancelDelegationToken";
    }
}

/// The path of a request.
///
/// # Errors
/// `InvalidArgument` when the request has none, `InvalidPath` when it is malformed.
fn path_of(path: Option<&String>) -> Result<NsPath, Error> {
    match path {
        Some(path) => NsPath::parse(path),
        None => Err(Error::new(Code::InvalidArgument, "the request names no path")),
    }
}

/// Permission bits: each digit of a `PMode` is one more than the octal digit it means.
fn mode_bits(mode: &PMode) -> u32 {
    let digit = |bits: i32| u32::try_from(bits - 1).unwrap_or_default() & 7;
    digit(mode.owner_bits) << 6 | digit(mode.group_bits) << 3 | digit(mode.other_bits)
}

/// An unsigned quantity as the protocol carries it.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use goosefs_core::proto::public::Bits;

    #[test]
    fn modes_are_octal_digits_plus_one() {
        let mode = PMode {
            owner_bits: Bits::All as i32,
            group_bits: Bits::ReadExecute as i32,
            other_bits: Bits::None as i32,
        };
        assert_eq!(mode_bits(&mode), 0o750);
    }

    #[test]
    fn a_request_without_path_is_refused_by_name() {
        assert_eq!(path_of(None).unwrap_err().code, Code::InvalidArgument);
    }
}
