//! Calls about the mount table.

use super::info::ufs_uri;
use super::{path_of, signed};
use crate::journal::Op;
use crate::master::Master;
use crate::mounts::Freshness;
use crate::namespace::MountPoint;
use futures::future::join_all;
use goosefs_core::path::NsPath;
use goosefs_core::proto::internal::Caller;
use goosefs_core::proto::journal::{Mount, Unmount, UpdateMount, entry::Command};
use goosefs_core::proto::public::file::{
    GetMountPointPRequest, GetMountPointPResponse, GetMountTablePRequest, GetMountTablePResponse,
    MountPRequest, MountPResponse, MountPointInfo, ReverseResolvePRequest, ReverseResolvePResponse,
    UnmountPRequest, UnmountPResponse, UpdateMountPRequest, UpdateMountPResponse,
};
use goosefs_core::{Code, Error, Result};
use goosefs_ufs::secret;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// How long a storage may take to say how full it is.
const SPACE_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) async fn mount(
    master: Arc<Master>,
    caller: Caller,
    request: MountPRequest,
) -> Result<MountPResponse> {
    master.authority.of_caller(&caller).await.rule("mount")?;
    let path = path_of(request.goosefs_path.as_ref())?;
    let ufs = request.ufs_path.filter(|ufs| !ufs.is_empty());
    let ufs = ufs.ok_or_else(|| Error::new(Code::InvalidArgument, "the request names no ufsPath"))?;
    let options = request.options.unwrap_or_default();
    secret::check_mount(&options.properties)?;
    let properties: BTreeMap<String, String> = options.properties.into_iter().collect();
    let writable = master.connectors.look(&ufs, &properties).await?;
    // What the under-storage has there must be known, so that nothing is hidden by accident.
    let found = master.finder.resolve(&path, Freshness::Loaded, false).await?;
    let command = Command::Mount(Mount {
        path: found.path.to_string(),
        ufs,
        read_only: options.read_only.unwrap_or_default() || !writable,
        shared: options.shared.unwrap_or_default(),
        options: properties.into_iter().collect(),
        generation: 0,
    });
    master.journal.propose(command, &caller, Op::Unnumbered).await?;
    Ok(MountPResponse {})
}

pub(super) async fn unmount(
    master: Arc<Master>,
    caller: Caller,
    request: UnmountPRequest,
) -> Result<UnmountPResponse> {
    master.authority.of_caller(&caller).await.rule("unmount")?;
    let path = path_of(request.goosefs_path.as_ref())?.to_string();
    master.desired.check_free(&path)?;
    let keep = !request.options.unwrap_or_default().force.unwrap_or_default();
    master.journal.propose(Command::Unmount(Unmount { path, keep }), &caller, Op::Unnumbered).await?;
    let mounts = master.journal.state().read().mounts();
    master.connectors.keep_only(&mounts);
    Ok(UnmountPResponse {})
}

pub(super) async fn update_mount(
    master: Arc<Master>,
    caller: Caller,
    request: UpdateMountPRequest,
) -> Result<UpdateMountPResponse> {
    master.authority.of_caller(&caller).await.rule("change mounts")?;
    let path = path_of(request.goosefs_path.as_ref())?;
    master.desired.check_free(path.as_str())?;
    let options = request.options.unwrap_or_default();
    let mounts = master.journal.read()?.mounts();
    let known = mounts.into_iter().find(|mount| mount.path == path.as_str());
    let Some(known) = known else {
        return Err(Error::new(Code::NotFound, format!("\"{path}\" is not a mount point")));
    };
    secret::check_mount(&options.properties)?;
    let properties: BTreeMap<String, String> = options.properties.into_iter().collect();
    let writable = master.connectors.look(&known.ufs, &properties).await?;
    let command = Command::UpdateMount(UpdateMount {
        path: path.to_string(),
        read_only: options.read_only.unwrap_or_default() || !writable,
        shared: options.shared.unwrap_or_default(),
        options: properties.into_iter().collect(),
        generation: 0,
    });
    master.journal.propose(command, &caller, Op::Unnumbered).await?;
    Ok(UpdateMountPResponse {})
}

pub(super) async fn get_mount_table(
    master: Arc<Master>,
    _: Caller,
    _: GetMountTablePRequest,
) -> Result<GetMountTablePResponse> {
    let mounts = master.journal.read()?.mounts();
    let infos = mounts.iter().map(|mount| async { (mount.path.clone(), mount_info(&master, mount).await) });
    Ok(GetMountTablePResponse { mount_points: join_all(infos).await.into_iter().collect() })
}

pub(super) async fn get_mount_point(
    master: Arc<Master>,
    _: Caller,
    request: GetMountPointPRequest,
) -> Result<GetMountPointPResponse> {
    let path = NsPath::parse(&request.path)?;
    let mounts = master.journal.read()?.mounts();
    let above = mounts.iter().filter(|mount| below(mount, &path).is_some());
    let nearest = above.max_by_key(|mount| mount.path.len());
    let Some(nearest) = nearest else {
        return Err(Error::new(Code::NotFound, format!("\"{path}\" lies in no mount")));
    };
    Ok(GetMountPointPResponse { mount_point_info: mount_info(&master, nearest).await })
}

pub(super) async fn reverse_resolve(
    master: Arc<Master>,
    _: Caller,
    request: ReverseResolvePRequest,
) -> Result<ReverseResolvePResponse> {
    let uri = request.ufs_uri.unwrap_or_default();
    let mounts = master.journal.read()?.mounts();
    let best = mounts
        .iter()
        .filter_map(|mount| Some((mount, rest_of_uri(mount, &uri)?)))
        .max_by_key(|(mount, _)| mount.ufs.len());
    let Some((mount, rest)) = best else {
        return Err(Error::new(Code::NotFound, format!("{uri} lies in no mounted storage")));
    };
    let path = NsPath::parse(&format!("{}/{rest}", mount.path))?;
    Ok(ReverseResolvePResponse { goosefs_path: Some(path.to_string()) })
}

/// What follows a mount's URI in `uri`.
fn rest_of_uri<'a>(mount: &MountPoint, uri: &'a str) -> Option<&'a str> {
    let rest = uri.strip_prefix(mount.ufs.trim_end_matches('/'))?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
}

/// What follows a mount's path in `path`.
fn below<'a>(mount: &MountPoint, path: &'a NsPath) -> Option<&'a str> {
    let root = NsPath::parse(&mount.path).ok()?;
    path.strip_prefix(&root)
}

async fn mount_info(master: &Master, mount: &MountPoint) -> MountPointInfo {
    let space = match master.connectors.of(mount) {
        Ok(ufs) => tokio::time::timeout(SPACE_TIMEOUT, ufs.space()).await.ok().and_then(Result::ok),
        Err(_) => None,
    };
    let space = space.unwrap_or_default();
    MountPointInfo {
        ufs_uri: Some(ufs_uri(mount, "")),
        ufs_type: Some(ufs_type(&mount.ufs).to_owned()),
        ufs_capacity_bytes: Some(space.capacity.map_or(-1, signed)),
        ufs_used_bytes: Some(space.used.map_or(-1, signed)),
        read_only: Some(mount.read_only),
        properties: properties_of(master, mount),
        shared: Some(mount.shared),
        mount_id: Some(signed(mount.id.0)),
    }
}

/// Options as people may see them: any of a file may come from a Secret.
fn properties_of(master: &Master, mount: &MountPoint) -> HashMap<String, String> {
    if mount.generation == 0 {
        return mount
            .options
            .iter()
            .map(|(name, value)| (name.clone(), secret::shown(name, value).to_owned()))
            .collect();
    }
    let options = master.desired.options_of(mount).unwrap_or_default();
    options.into_keys().map(|name| (name, secret::HIDDEN.to_owned())).collect()
}

fn ufs_type(uri: &str) -> &str {
    match uri.split_once("://") {
        None | Some(("file", _)) => "local",
        Some(("http" | "https", _)) => "web",
        Some((scheme, _)) => scheme,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goosefs_core::id::{InodeId, MountId};

    fn mounted(path: &str, ufs: &str) -> MountPoint {
        MountPoint {
            id: MountId(1),
            root: InodeId(0),
            path: path.to_owned(),
            ufs: ufs.to_owned(),
            read_only: false,
            shared: false,
            options: BTreeMap::new(),
            generation: 0,
        }
    }

    #[test]
    fn a_uri_belongs_to_the_mount_it_goes_on_from() {
        let mount = mounted("/m", "http://h/a/");
        assert_eq!(rest_of_uri(&mount, "http://h/a/b/c"), Some("b/c"));
        assert_eq!(rest_of_uri(&mount, "http://h/a"), Some(""));
        assert_eq!(rest_of_uri(&mount, "http://h/ab"), None);
    }

    #[test]
    fn storages_are_named_by_scheme() {
        assert_eq!(ufs_type("/data"), "local");
        assert_eq!(ufs_type("https://h/x"), "web");
        assert_eq!(ufs_type("cosn://b/x"), "cosn");
    }
}
