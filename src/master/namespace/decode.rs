//! Records of an image as parts of the state.

use super::identity::IdentityId;
use super::inode::{
    Block, Body, Directory, Extra, File, Inode, Listing, MountNumber, NO_MTIME, Rare, UfsObject,
};
use super::intent::Running;
use super::name::Name;
use super::restore::corrupt;
use super::session::{Answer, Session};
use super::view::{MountPoint, RegisteredWorker};
use bytes::Bytes;
use goosefs_core::error::Result;
use goosefs_core::id::{ContainerId, InodeId, MAX_CONTAINER, MountId, WorkerId};
use goosefs_core::proto::image;
use goosefs_core::proto::internal::VendorOp;
use std::sync::Arc;

fn number(raw: u64) -> Result<ContainerId> {
    if raw < MAX_CONTAINER {
        Ok(ContainerId(raw))
    } else {
        Err(corrupt(format_args!("container number {raw}")))
    }
}

pub(super) fn mount(mount: image::Mount) -> Result<MountPoint> {
    let mut options = std::collections::BTreeMap::new();
    for option in mount.options {
        let value =
            String::from_utf8(option.value.to_vec()).map_err(|e| corrupt("a mount's option").caused_by(e))?;
        options.insert(option.key, value);
    }
    Ok(MountPoint {
        id: MountId(mount.id),
        root: number(mount.root)?.inode(),
        path: mount.path,
        ufs: mount.ufs,
        read_only: mount.read_only,
        shared: mount.shared,
        options,
        generation: mount.generation,
    })
}

pub(super) fn worker(worker: image::Worker) -> Result<RegisteredWorker> {
    Ok(RegisteredWorker {
        id: WorkerId(worker.id),
        address: worker
            .address
            .ok_or_else(|| corrupt(format_args!("worker {} has no address", worker.id)))?,
        virtual_nodes: worker.virtual_nodes,
    })
}

pub(super) fn inode(inode: image::Inode) -> Result<(InodeId, Inode)> {
    let id = number(inode.number)?.inode();
    let body = match inode.body {
        Some(image::inode::Body::File(one)) => Body::File(file(one)?),
        Some(image::inode::Body::Directory(one)) => Body::Directory(Arc::new(directory(one)?)),
        Some(image::inode::Body::Symlink(target)) => Body::Symlink(target.into()),
        None => return Err(corrupt(format_args!("inode {id} is nothing"))),
    };
    let object = match inode.object {
        0 => UfsObject::None,
        1 => UfsObject::Maybe,
        2 => UfsObject::Present,
        other => return Err(corrupt(format_args!("inode {id} has the object state {other}"))),
    };
    let inode = Inode {
        parent: number(inode.parent)?.inode(),
        name: Name::new(&inode.name),
        identity: IdentityId(inode.identity),
        mount: MountNumber(inode.mount),
        object,
        pinned: inode.pinned,
        mtime_ms: inode.mtime_ms,
        ctime_ms: inode.ctime_ms,
        atime_ms: inode.atime_ms,
        created_ms: inode.created_ms,
        extra: inode.extra.map(|one| Box::new(extra(one))),
        body,
    };
    Ok((id, inode))
}

fn file(file: image::File) -> Result<File> {
    let (write_type, persistence) = (file.write_type(), file.persistence());
    Ok(File {
        container: number(file.container)?,
        length: file.length,
        block_size: file.block_size,
        checked_ms: file.checked_ms,
        ufs_mtime_ms: file.ufs_mtime_ms.unwrap_or(NO_MTIME),
        etag: (!file.etag.is_empty()).then(|| file.etag.into()),
        generation: file.generation,
        write_type,
        persistence,
        completed: file.completed,
    })
}

fn directory(directory: image::Directory) -> Result<Directory> {
    Ok(Directory {
        loaded: directory.loaded,
        synced_ms: directory.synced_ms,
        changed: directory.changed,
        listing: directory.listing.map(listing).transpose()?.map(Box::new),
        ..Directory::default()
    })
}

fn listing(listing: image::Listing) -> Result<Listing> {
    let seen = listing.seen.into_iter().map(|raw| Ok(number(raw)?.inode())).collect::<Result<_>>()?;
    let touched = listing.touched.iter().map(|name| Name::new(name)).collect();
    Ok(Listing { number: listing.number, sweep: listing.sweep, seen, touched })
}

fn extra(extra: image::Extra) -> Extra {
    let block = |block: image::Block| {
        let workers = block.workers.into_iter().map(WorkerId).collect();
        (block.index, Block { length: block.length, workers })
    };
    let rare = Rare {
        ttl_ms: extra.ttl_ms,
        ttl_action: extra.ttl_action,
        checksum: extra.checksum_type.zip(extra.checksum),
        // Copied, so that it does not hold the whole record.
        xattr: extra.xattr.into_iter().map(|pair| (pair.key, Bytes::copy_from_slice(&pair.value))).collect(),
        mtime_set: extra.mtime_set,
    };
    Extra {
        blocks: extra.blocks.into_iter().map(block).collect(),
        writer: extra.writer,
        rare: (rare != Rare::default()).then(|| Box::new(rare)),
    }
}

fn answer(answer: Option<image::Answer>) -> Result<Answer> {
    match answer.map(|answer| (answer.pending, answer.done, answer.forgotten)) {
        Some((Some(intent), None, false)) => Ok(Answer::Pending(intent)),
        Some((None, Some(done), false)) => Ok(Answer::Done(done.to_vec().into())),
        Some((None, None, true)) => Ok(Answer::Forgotten),
        _ => Err(corrupt("an answer that is none")),
    }
}

pub(super) fn session(session: image::Session) -> Result<(u64, Session)> {
    let mut answers = std::collections::BTreeMap::new();
    for kept in session.answers {
        answers.insert(kept.sequence, answer(kept.answer)?);
    }
    let state = Session {
        description: session.description,
        last_ms: session.last_ms,
        acknowledged: session.acknowledged,
        answers,
    };
    Ok((session.session, state))
}

pub(super) fn vendor_answer(record: image::VendorAnswer) -> Result<(VendorOp, u64, Answer)> {
    let op = record.op.ok_or_else(|| corrupt("an answer to nothing"))?;
    Ok((op, record.at_ms, answer(record.answer)?))
}

pub(super) fn running(running: image::RunningIntent) -> Result<Running> {
    let intent = running.intent.ok_or_else(|| corrupt("an intent that is none"))?;
    let inodes = running.inodes.into_iter().map(|raw| Ok(number(raw)?.inode())).collect::<Result<_>>()?;
    let names = running.names.into_iter().map(|held| Ok((number(held.parent)?.inode(), held.name)));
    Ok(Running { intent, inodes, names: names.collect::<Result<_>>()? })
}
