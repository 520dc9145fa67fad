//! `FileInfo`: one inode in the words of the GooseFS protocol.
//!
//! What clients make of it was read in `goosefs-sdk` 0.1.9 and 0.2.2: block ids come from `fileId` when writing and from
//! `blockIds` when reading; locations are looked at before the placement ring, so they are given for blocks that only
//! workers have; `ufsPath` is what a worker is told to read, or to write for CACHE_THROUGH.

use super::signed;
use crate::master::Master;
use crate::namespace::{Details, MountPoint, Namespace};
use bytes::Bytes;
use goosefs_core::Result;
use goosefs_core::id::{ContentId, InodeId, MountId};
use goosefs_core::path::NsPath;
use goosefs_core::proto::internal::{Attr, NodeKind, Persistence, WorkerAddress};
use goosefs_core::proto::public::file::{FileBlockInfo, FileInfo};
use goosefs_core::proto::public::{BlockInfo, BlockLocation, WorkerNetAddress};
use std::collections::BTreeMap;

/// Makes `FileInfo`s; holds what many of them share.
pub(super) struct Infos<'a> {
    namespace: &'a Namespace,
    mounts: BTreeMap<MountId, MountPoint>,
    addresses: BTreeMap<u64, WorkerAddress>,
}

impl<'a> Infos<'a> {
    /// For inodes of `namespace`.
    pub(super) fn new(master: &Master, namespace: &'a Namespace) -> Infos<'a> {
        let mounts = namespace.mounts().into_iter().map(|mount| (mount.id, mount)).collect();
        let live = master.workers.live().into_iter().map(|worker| (worker.id.0, worker.address));
        Infos { namespace, mounts, addresses: live.collect() }
    }

    /// Everything about the inode with these attributes, which lies at `path`.
    ///
    /// # Errors
    /// `NotFound` when it is gone.
    pub(super) fn info(&self, attr: &Attr, path: &NsPath) -> Result<FileInfo> {
        let details = self.namespace.details(InodeId(attr.inode))?;
        let kind = attr.kind();
        let mount = details.mount.and_then(|id| self.mounts.get(&id));
        let persistence = attr.persistence();
        let length = if kind == NodeKind::Directory { attr.children } else { attr.length };
        let mut info = FileInfo {
            file_id: Some(signed(if kind == NodeKind::File { attr.content } else { attr.inode })),
            name: Some(path.name().unwrap_or_default().to_owned()),
            path: Some(path.to_string()),
            ufs_path: Some(mount.map(|mount| ufs_uri(mount, &details.ufs_path)).unwrap_or_default()),
            length: Some(signed(length)),
            block_size_bytes: Some(signed(attr.block_size)),
            creation_time_ms: Some(signed(attr.created_ms)),
            completed: Some(attr.completed || kind != NodeKind::File),
            folder: Some(kind == NodeKind::Directory),
            cacheable: Some(true),
            persisted: Some(persistence == Persistence::Persisted),
            last_modification_time_ms: Some(signed(attr.mtime_ms)),
            last_access_time_ms: Some(signed(attr.atime_ms)),
            owner: Some(attr.owner.clone()),
            group: Some(attr.group.clone()),
            mode: Some((attr.mode & 0o7777).cast_signed()),
            persistence_state: Some(persistence_name(persistence).to_owned()),
            mount_point: Some(self.mounts.values().any(|mount| mount.root.0 == attr.inode)),
            mount_id: mount.map(|mount| signed(mount.id.0)),
            in_goose_fs_percentage: Some(0),
            in_memory_percentage: Some(0),
            ufs_fingerprint: details.fingerprint.as_ref().map(|print| {
                let mtime = print.mtime_ms.map(|ms| ms.to_string()).unwrap_or_default();
                format!("length={} mtime={mtime} etag={}", print.length, print.etag)
            }),
            xattr: xattr(&details),
            symlink: (kind == NodeKind::Symlink).then(|| attr.target.clone()),
            ..FileInfo::default()
        };
        if kind == NodeKind::File {
            self.add_blocks(&mut info, attr, &details);
        }
        Ok(info)
    }

    fn add_blocks(&self, info: &mut FileInfo, attr: &Attr, details: &Details) {
        if attr.block_size == 0 {
            return;
        }
        let held: BTreeMap<u64, _> = details.blocks.iter().map(|block| (block.block, block)).collect();
        let content = ContentId(attr.content);
        // While it is being written its length is not known yet, but the blocks that workers took are.
        let written = held.keys().next_back().map_or(0, |last| (last & goosefs_core::id::CONTENT_MARK) + 1);
        let blocks = attr.length.div_ceil(attr.block_size).max(written);
        for index in 0..blocks {
            let block = content.block(index);
            let offset = index * attr.block_size;
            let holders = held.get(&block.0);
            let length = match holders {
                Some(holders) => holders.length,
                None => attr.length.saturating_sub(offset).min(attr.block_size),
            };
            let locations = holders.into_iter().flat_map(|holders| &holders.workers).filter_map(|worker| {
                let address = self.addresses.get(worker)?;
                Some(BlockLocation {
                    worker_id: Some(signed(*worker)),
                    worker_address: Some(net_address(address)),
                })
            });
            info.block_ids.push(signed(block.0));
            info.file_block_infos.push(FileBlockInfo {
                block_info: Some(BlockInfo {
                    block_id: Some(signed(block.0)),
                    length: Some(signed(length)),
                    max_replicas: None,
                    locations: locations.collect(),
                }),
                offset: Some(signed(offset)),
                ..FileBlockInfo::default()
            });
        }
    }
}

/// A worker's address as clients dial it. Everything but the web is on one port.
pub(crate) fn net_address(address: &WorkerAddress) -> WorkerNetAddress {
    WorkerNetAddress {
        host: Some(address.host.clone()),
        rpc_port: Some(address.rpc_port.cast_signed()),
        data_port: Some(address.rpc_port.cast_signed()),
        web_port: Some(address.web_port.cast_signed()),
        domain_socket_path: Some(address.socket.clone()),
        ..WorkerNetAddress::default()
    }
}

/// The URI of a path below a mount.
pub(super) fn ufs_uri(mount: &MountPoint, path: &str) -> String {
    if path.is_empty() { mount.ufs.clone() } else { format!("{}/{path}", mount.ufs.trim_end_matches('/')) }
}

fn persistence_name(persistence: Persistence) -> &'static str {
    match persistence {
        Persistence::NotPersisted => "NOT_PERSISTED",
        Persistence::ToBePersisted => "TO_BE_PERSISTED",
        Persistence::Persisted => "PERSISTED",
        Persistence::Lost => "LOST",
    }
}

fn xattr(details: &Details) -> std::collections::HashMap<String, Bytes> {
    let mut all: std::collections::HashMap<String, Bytes> = details.xattr.clone().into_iter().collect();
    if let Some((kind, value)) = details.checksum {
        all.insert("CrcType".to_owned(), Bytes::from(kind.to_string()));
        all.insert("CrcValue".to_owned(), Bytes::from(value.to_string()));
    }
    all
}

/// Fills in how much of each file workers have cached, as far as they answer in time.
pub(super) async fn add_cached(master: &Master, infos: &mut [FileInfo]) {
    let files: Vec<usize> = (0..infos.len())
        .filter(|at| infos[*at].folder == Some(false) && infos[*at].length.unwrap_or_default() > 0)
        .filter(|at| !infos[*at].block_ids.is_empty())
        .collect();
    let contents: Vec<u64> =
        files.iter().map(|at| infos[*at].file_id.unwrap_or_default().cast_unsigned()).collect();
    let cached = crate::workers::cached_bytes(master, &contents).await;
    for (at, bytes) in files.into_iter().zip(cached) {
        let length = infos[at].length.unwrap_or_default().cast_unsigned().max(1);
        let percent = (bytes.min(length).saturating_mul(100) / length).min(100);
        infos[at].in_goose_fs_percentage = i32::try_from(percent).ok();
    }
}
