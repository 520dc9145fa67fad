//! Images: what is written, read back and refused.

use super::bed::*;
use crate::namespace::Namespace;
use goosefs_core::error::Code;
use goosefs_core::id::{ContentId, InodeId};
use goosefs_core::proto::internal::{ClusterMark, SessionOp, VendorOp, WorkerAddress, WriteType};
use goosefs_core::proto::journal::entry::Command;
use goosefs_core::proto::journal::{
    Found, Mount, RegisterWorker, RemoveWorker, SetAttributes, SubmitPreload,
};

/// Something of everything.
fn full() -> Bed {
    let mut bed = Bed { now_ms: 5, ..Bed::default() };
    let mark = ClusterMark { cluster_id: vec![7; 16].into(), epoch: 3 };
    bed.ok(Command::Found(Found { mark: Some(mark) }));
    let options = [("k".to_owned(), "v".to_owned()), ("a".to_owned(), "b".to_owned())].into();
    bed.ok(Command::Mount(Mount {
        path: "/".into(),
        ufs: "file:///x".into(),
        options,
        ..Default::default()
    }));
    bed.ok(mount("/m", "https://mirror", true));
    for worker in [3, 4] {
        let address = Some(WorkerAddress { host: "h".into(), ..Default::default() });
        bed.ok(Command::RegisterWorker(RegisterWorker { worker, address, virtual_nodes: 5 }));
    }
    bed.ok(Command::RemoveWorker(RemoveWorker { worker: 3 }));
    bed.load(
        0,
        vec![found_file("f", 1, 1), found_directory("d"), found_file("e", 1, 1), found_file("r", 1, 1)],
    );
    bed.load(
        0,
        vec![found_file("f", 1, 1), found_directory("d"), found_file("e", 1, 1), found_file("r", 2, 2)],
    );
    let f = bed.write(bed.id("/d"), "cached", WriteType::AsyncThrough, 2 * BLOCK + 1);
    let set = SetAttributes {
        inode: f.inode,
        ttl_ms: Some(9),
        pinned: Some(true),
        set_xattr: [("x".to_owned(), "1".into()), ("y".to_owned(), "2".into())].into(),
        ..Default::default()
    };
    bed.ok(Command::SetAttributes(set));
    bed.ok(batch(bed.id("/d"), vec![found_file("seen", 1, 1)], 9, true, false));
    bed.ok(open_session(5));
    bed.in_session(
        SessionOp { session: 5, sequence: 1, acknowledged: 0 },
        create(0, "s", WriteType::MustCache),
    );
    bed.as_vendor(VendorOp { most: 1, least: 2 }, mkdir(0, "v", false));
    bed.as_vendor(VendorOp { most: 1, least: 3 }, remove(0, "e"));
    bed.intent(rename(0, "f", 0, "g", false));
    bed.ok(Command::SubmitPreload(SubmitPreload {
        path: "/d".into(),
        key: "k".into(),
        ..Default::default()
    }));
    bed
}

#[test]
fn an_image_comes_back_whole() {
    let bed = full();
    let image = bed.image();
    let mut back = Namespace::restore(&mut &image[..]).unwrap();
    assert!(image_of(&back) == image);
    let ours = &bed.namespace;
    assert_eq!(back.mark(), ours.mark());
    assert_eq!(back.counts(), ours.counts());
    assert_eq!(back.mounts(), ours.mounts());
    assert_eq!(back.workers(), ours.workers());
    assert_eq!(back.sessions(), ours.sessions());
    assert_eq!(back.intents(), ours.intents());
    assert_eq!(back.pinned(), ours.pinned());
    assert_eq!(back.incomplete(u64::MAX), ours.incomplete(u64::MAX));
    assert_eq!(back.unpersisted(ContentId(0), 99), ours.unpersisted(ContentId(0), 99));
    assert_eq!(back.expired(u64::MAX, 9), ours.expired(u64::MAX, 9));
    assert_eq!(back.children(InodeId::ROOT, "", 99).unwrap(), ours.children(InodeId::ROOT, "", 99).unwrap());
    let replaced = bed.content("/r");
    assert_eq!(back.attr(replaced).unwrap(), ours.attr(replaced).unwrap());
    // The listing that was running goes on.
    let mut other = Bed { namespace: std::mem::take(&mut back), log: bed.log.clone(), now_ms: bed.now_ms };
    let d = other.id("/d");
    other.ok(batch(d, vec![], 9, false, true));
    assert_eq!(other.names("/d"), ["cached", "seen"]);
}

#[test]
fn an_image_is_of_its_moment() {
    let mut bed = full();
    let before = bed.image();
    let frozen = bed.namespace.freeze();
    for i in 0..2000 {
        bed.ok(create(0, &format!("later{i}"), WriteType::MustCache));
    }
    bed.ok(remove_all(0, "v"));
    bed.in_session(
        SessionOp { session: 5, sequence: 2, acknowledged: 1 },
        create(0, "t", WriteType::MustCache),
    );
    bed.as_vendor(VendorOp { most: 1, least: 4 }, mkdir(0, "w", false));
    let mut out = Vec::new();
    frozen.write(&mut out).unwrap();
    assert!(out == before);
}

#[test]
fn broken_images_are_refused_and_never_panic() {
    let image = full().image();
    for cut in 0..image.len() {
        let error = Namespace::restore(&mut &image[..cut]).err().unwrap();
        assert_eq!(error.code, Code::Corrupt, "cut at {cut}");
    }
    for at in 0..image.len() {
        let mut broken = image.clone();
        broken[at] ^= 0x55;
        // Whatever comes of it (a checksum guards real images), it is no panic.
        if let Ok(namespace) = Namespace::restore(&mut &broken[..]) {
            let _ = namespace.children(InodeId::ROOT, "", 10);
        }
    }
}
