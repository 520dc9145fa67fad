//! The parts of the state as records of an image.

use super::identity::Identity;
use super::inode::{Body, Extra, File, Inode, Listing, NO_MTIME, UfsObject};
use super::intent::Running;
use super::session::{Answer, Session, VendorRecord};
use super::view::{MountPoint, RegisteredWorker};
use bytes::Bytes;
use goosefs_core::id::InodeId;
use goosefs_core::proto::image;
use goosefs_core::proto::internal::VendorOp;

pub(super) fn identity(identity: &Identity) -> image::Identity {
    image::Identity { owner: identity.owner.clone(), group: identity.group.clone(), mode: identity.mode }
}

pub(super) fn mount(mount: &MountPoint) -> image::Mount {
    let options = mount.options.iter();
    image::Mount {
        id: mount.id.0,
        root: mount.root.container().0,
        path: mount.path.clone(),
        ufs: mount.ufs.clone(),
        read_only: mount.read_only,
        shared: mount.shared,
        options: options
            .map(|(key, value)| image::Pair {
                key: key.clone(),
                value: Bytes::copy_from_slice(value.as_bytes()),
            })
            .collect(),
        generation: mount.generation,
    }
}

pub(super) fn worker(worker: &RegisteredWorker) -> image::Worker {
    image::Worker {
        id: worker.id.0,
        address: Some(worker.address.clone()),
        virtual_nodes: worker.virtual_nodes,
    }
}

pub(super) fn inode(id: InodeId, inode: &Inode) -> image::Inode {
    image::Inode {
        number: id.container().0,
        parent: inode.parent.container().0,
        name: inode.name.as_str().to_owned(),
        identity: inode.identity.0,
        mount: inode.mount.0,
        object: match inode.object {
            UfsObject::None => 0,
            UfsObject::Maybe => 1,
            UfsObject::Present => 2,
        },
        pinned: inode.pinned,
        mtime_ms: inode.mtime_ms,
        ctime_ms: inode.ctime_ms,
        atime_ms: inode.atime_ms,
        created_ms: inode.created_ms,
        body: Some(match &inode.body {
            Body::File(one) => image::inode::Body::File(file(one)),
            Body::Directory(directory) => image::inode::Body::Directory(image::Directory {
                loaded: directory.loaded,
                synced_ms: directory.synced_ms,
                changed: directory.changed,
                listing: directory.listing.as_deref().map(listing),
            }),
            Body::Symlink(target) => image::inode::Body::Symlink(target.to_string()),
        }),
        extra: inode.extra.as_deref().map(extra),
    }
}

fn file(file: &File) -> image::File {
    image::File {
        container: file.container.0,
        length: file.length,
        block_size: file.block_size,
        checked_ms: file.checked_ms,
        ufs_mtime_ms: (file.ufs_mtime_ms != NO_MTIME).then_some(file.ufs_mtime_ms),
        etag: file.etag.as_deref().unwrap_or_default().to_owned(),
        generation: file.generation,
        write_type: file.write_type.into(),
        persistence: file.persistence.into(),
        completed: file.completed,
    }
}

fn listing(listing: &Listing) -> image::Listing {
    image::Listing {
        number: listing.number,
        sweep: listing.sweep,
        seen: listing.seen.iter().map(|id| id.container().0).collect(),
        touched: listing.touched.iter().map(|name| name.as_str().to_owned()).collect(),
    }
}

fn extra(extra: &Extra) -> image::Extra {
    let rare = extra.rare.as_deref();
    let checksum = rare.and_then(|rare| rare.checksum);
    let xattr = rare.into_iter().flat_map(|rare| rare.xattr.iter());
    let blocks = extra.blocks.iter();
    image::Extra {
        ttl_ms: rare.and_then(|rare| rare.ttl_ms),
        ttl_action: rare.map_or(0, |rare| rare.ttl_action),
        checksum_type: checksum.map(|(kind, _)| kind),
        checksum: checksum.map(|(_, value)| value),
        xattr: xattr.map(|(key, value)| image::Pair { key: key.clone(), value: value.clone() }).collect(),
        blocks: blocks
            .map(|(index, block)| image::Block {
                index: *index,
                length: block.length,
                workers: block.workers.iter().map(|worker| worker.0).collect(),
            })
            .collect(),
        writer: extra.writer,
        mtime_set: rare.is_some_and(|rare| rare.mtime_set),
    }
}

fn answer(answer: &Answer) -> image::Answer {
    let mut out = image::Answer::default();
    match answer {
        Answer::Pending(intent) => out.pending = Some(*intent),
        Answer::Done(bytes) => out.done = Some(Bytes::copy_from_slice(bytes)),
        Answer::Forgotten => out.forgotten = true,
    }
    out
}

pub(super) fn session(number: u64, session: &Session) -> image::Session {
    let answers = session.answers.iter();
    image::Session {
        session: number,
        description: session.description.clone(),
        last_ms: session.last_ms,
        acknowledged: session.acknowledged,
        answers: answers
            .map(|(sequence, kept)| image::SessionAnswer { sequence: *sequence, answer: Some(answer(kept)) })
            .collect(),
    }
}

pub(super) fn vendor_answer(record: &VendorRecord) -> image::VendorAnswer {
    image::VendorAnswer {
        op: Some(VendorOp { most: record.most, least: record.least }),
        at_ms: record.at_ms,
        answer: Some(answer(&record.answer)),
    }
}

pub(super) fn running(running: &Running) -> image::RunningIntent {
    let names = running.names.iter();
    image::RunningIntent {
        intent: Some(running.intent.clone()),
        inodes: running.inodes.iter().map(|id| id.container().0).collect(),
        names: names
            .map(|(parent, name)| image::HeldName { parent: parent.container().0, name: name.clone() })
            .collect(),
    }
}
