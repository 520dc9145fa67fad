//! Calls that look: status, listings, link targets, paths of ids, access.

use super::info::{Infos, add_cached};
use super::path_of;
use crate::authority::{READ, Who};
use crate::find::does_not_exist;
use crate::master::Master;
use crate::mounts::Freshness;
use futures::stream::{self, BoxStream, StreamExt};
use goosefs_core::id::InodeId;
use goosefs_core::path::NsPath;
use goosefs_core::proto::internal::{Caller, DirEntry, NodeKind};
use goosefs_core::proto::public::Bits;
use goosefs_core::proto::public::file::{
    CheckAccessPRequest, CheckAccessPResponse, FileInfo, GetFilePathPRequest, GetFilePathPResponse,
    GetLinkTargetPRequest, GetLinkTargetPResponse, GetStatusBatchPRequest, GetStatusBatchPResponse,
    GetStatusPOptions, GetStatusPRequest, GetStatusPResponse, ListStatusPRequest, ListStatusPResponse,
};
use goosefs_core::{Code, Error, Result};
use std::sync::Arc;
use tonic::Status;

/// Paths of a batch that are looked at in parallel.
const BATCH_PARALLEL: usize = 16;

pub(super) async fn get_status(
    master: Arc<Master>,
    caller: Caller,
    request: GetStatusPRequest,
) -> Result<GetStatusPResponse> {
    let path = path_of(request.path.as_ref())?;
    let who = master.authority.of_caller(&caller).await;
    let file_info = Some(status(&master, &who, &path, &request.options.unwrap_or_default()).await?);
    Ok(GetStatusPResponse { file_info })
}

pub(super) async fn get_status_batch(
    master: Arc<Master>,
    caller: Caller,
    request: GetStatusBatchPRequest,
) -> Result<GetStatusBatchPResponse> {
    let options = request.options.unwrap_or_default();
    let who = master.authority.of_caller(&caller).await;
    let looks = request.paths.into_iter().map(|text| {
        let (master, who, options) = (&master, &who, &options);
        async move {
            let looked = match NsPath::parse(&text) {
                Ok(path) => status(master, who, &path, options).await,
                Err(error) => Err(error),
            };
            (text, looked)
        }
    });
    let mut response = GetStatusBatchPResponse::default();
    let mut looks = stream::iter(looks).buffered(BATCH_PARALLEL);
    while let Some((path, looked)) = looks.next().await {
        match looked {
            Ok(info) => response.file_infos.push(info),
            // The whole batch is for another master then.
            Err(error) if error.code == Code::NotLeader => return Err(error),
            Err(_) => response.failed_paths.push(path),
        }
    }
    Ok(response)
}

async fn status(master: &Master, who: &Who, path: &NsPath, options: &GetStatusPOptions) -> Result<FileInfo> {
    let load = options.load_metadata_type.or(options.default_load_metadata_type);
    let freshness = Freshness::of_request(options.common_options.as_ref(), load, master.freshness());
    let follow = options.resolve_link.unwrap_or_default();
    let found = master.finder.existing(path, freshness, follow).await?;
    let mut info = {
        let namespace = master.journal.read()?;
        who.reach(&namespace, found.resolved.node)?;
        Infos::new(master, &namespace).info(&found.resolved.attr, &found.path)?
    };
    if options.check_block_replicas.unwrap_or_default() > 0 {
        add_cached(master, std::slice::from_mut(&mut info)).await;
    }
    Ok(info)
}

/// Where a listing goes on.
struct Page {
    master: Arc<Master>,
    directory: InodeId,
    path: NsPath,
    after: String,
}

pub(super) async fn list_status(
    master: Arc<Master>,
    caller: Caller,
    request: ListStatusPRequest,
) -> Result<BoxStream<'static, Result<ListStatusPResponse, Status>>> {
    let path = path_of(request.path.as_ref())?;
    let options = request.options.unwrap_or_default();
    let load = options.load_metadata_type.or(options.default_load_metadata_type);
    let freshness = Freshness::of_request(options.common_options.as_ref(), load, master.freshness());
    let found = master.finder.existing(&path, freshness, true).await?;
    let attr = found.resolved.attr;
    let who = master.authority.of_caller(&caller).await;
    if attr.kind() == NodeKind::Directory {
        who.open(&*master.journal.read()?, found.resolved.node, READ)?;
    } else {
        who.reach(&*master.journal.read()?, found.resolved.node)?;
        let mut infos = {
            let namespace = master.journal.read()?;
            vec![Infos::new(&master, &namespace).info(&attr, &found.path)?]
        };
        add_cached(&master, &mut infos).await;
        let only = ListStatusPResponse { file_infos: infos };
        return Ok(stream::iter([Ok(only)]).boxed());
    }
    let directory = InodeId(attr.inode);
    master.finder.listed(directory, freshness).await?;
    if options.load_metadata_only.unwrap_or_default() {
        return Ok(stream::empty().boxed());
    }
    let first = Page { master, directory, path: found.path, after: String::new() };
    let pages = stream::try_unfold(Some(first), |page| async move {
        let Some(page) = page else { return Ok(None) };
        let (infos, next) = page.read().await?;
        Ok(Some((ListStatusPResponse { file_infos: infos }, next)))
    });
    Ok(pages.map(|page: Result<_>| page.map_err(Status::from)).boxed())
}

impl Page {
    /// The entries of this page, and the next page.
    async fn read(mut self) -> Result<(Vec<FileInfo>, Option<Page>)> {
        let (mut infos, last) = {
            let namespace = self.master.journal.read()?;
            let limit = self.master.config.list_batch.max(1);
            let (entries, more) = namespace.children(self.directory, &self.after, limit)?;
            let infos = Infos::new(&self.master, &namespace);
            let mut listed = Vec::with_capacity(entries.len());
            for DirEntry { name, attr } in &entries {
                let Some(attr) = attr else { continue };
                listed.push(infos.info(attr, &self.path.join(name)?)?);
            }
            (listed, entries.last().filter(|_| more).map(|entry| entry.name.clone()))
        };
        add_cached(&self.master, &mut infos).await;
        let next = last.map(|last| {
            self.after = last;
            self
        });
        Ok((infos, next))
    }
}

pub(super) async fn get_file_path(
    master: Arc<Master>,
    _: Caller,
    request: GetFilePathPRequest,
) -> Result<GetFilePathPResponse> {
    let id = request.file_id.unwrap_or_default().cast_unsigned();
    let namespace = master.journal.read()?;
    let inode = namespace.inode_of(id).map_err(|error| error.context(format!("file id {id}")))?;
    Ok(GetFilePathPResponse { path: Some(namespace.path_of(inode)?.to_string()) })
}

pub(super) async fn get_link_target(
    master: Arc<Master>,
    caller: Caller,
    request: GetLinkTargetPRequest,
) -> Result<GetLinkTargetPResponse> {
    let path = path_of(request.link.as_ref())?;
    let found = master.finder.existing(&path, master.freshness(), false).await?;
    let who = master.authority.of_caller(&caller).await;
    who.reach(&*master.journal.read()?, found.resolved.node)?;
    if found.resolved.attr.kind() != NodeKind::Symlink {
        return Err(Error::new(Code::InvalidArgument, format!("\"{path}\" is not a symlink")));
    }
    Ok(GetLinkTargetPResponse { target: Some(found.resolved.attr.target) })
}

pub(super) async fn check_access(
    master: Arc<Master>,
    caller: Caller,
    request: CheckAccessPRequest,
) -> Result<CheckAccessPResponse> {
    let path = path_of(request.path.as_ref())?;
    let options = request.options.unwrap_or_default();
    let found = master.finder.resolve(&path, master.freshness(), true).await?;
    if !found.resolved.exists() {
        return Err(does_not_exist(&path));
    }
    let bits = options.bits.unwrap_or(Bits::None as i32);
    let wanted = u32::try_from(bits - 1).unwrap_or_default() & 7;
    let who = master.authority.of_caller(&caller).await;
    who.reach(&*master.journal.read()?, found.resolved.node)?;
    if !who.has(&found.resolved.attr, wanted) {
        let text = format!("\"{}\" may not access \"{path}\" with rights {wanted:o}", caller.user);
        return Err(Error::new(Code::PermissionDenied, text));
    }
    Ok(CheckAccessPResponse {})
}
