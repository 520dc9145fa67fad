//! A bucket of a real S3 server, through FUSE, and where its keys do not show.

use super::{GOOSEFS, can_mount, turn};
use goosefs_harness::{DevCluster, Launch, pattern};
use goosefs_ufs::testing::{S3Server, Speaks, or_skip};
use std::fs;
use std::path::{Path, PathBuf};

/// Every file below `folder`.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

/// The key stands neither in a log, journal or record of the cluster, nor in a command line of a process.
fn assert_hidden(cluster: &DevCluster) {
    for place in ["logs", "dev.json", "master-0", "master-1", "master-2"] {
        let path = cluster.dir().join(place);
        let files = if path.is_dir() { files_below(&path) } else { vec![path] };
        for file in &files {
            assert!(!holds(&fs::read(file).unwrap(), S3Server::KEY), "{} has the key", file.display());
        }
    }
    let record = cluster.record();
    for process in record.masters.iter().chain(&record.workers).chain(&record.fuse) {
        let line = fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap();
        assert!(!holds(&line, S3Server::KEY), "{process:?}");
    }
    assert!(!cluster.said().contains(S3Server::KEY), "{}", cluster.said());
}

#[test]
fn a_bucket_is_read_and_written_through_the_mount_and_its_keys_show_nowhere() {
    let _turn = turn();
    let Some(server) = or_skip("a_bucket", S3Server::start(Speaks::Http)).filter(|_| can_mount()) else {
        return;
    };
    let data = server.bucket().join("data");
    fs::create_dir_all(data.join("sub")).unwrap();
    let large = pattern(1, 20_000_000);
    fs::write(data.join("sub/large.bin"), &large).unwrap();
    let keys = tempfile::tempdir().unwrap();
    let reference = |name: &str, key: &str| {
        let file = keys.path().join(name);
        fs::write(&file, key).unwrap();
        format!("${{file:{}}}", file.display())
    };
    let (id, key) = (reference("id", S3Server::ID), reference("key", S3Server::KEY));
    let endpoint = format!("goosefs.underfs.s3.endpoint={}", server.endpoint());
    let cluster = DevCluster::start(Launch {
        fuse: true,
        mounts: vec!["/s3=s3://tests/data".to_owned()],
        args: vec![
            format!("-D{endpoint}"),
            format!("-Daws.accessKeyId={id}"),
            format!("-Daws.secretKey={key}"),
        ],
        ..Launch::new(GOOSEFS)
    })
    .unwrap();
    let point = cluster.mount_point().join("s3");
    assert!(fs::read(point.join("sub/large.bin")).unwrap() == large);
    let written = pattern(2, 9_000_000);
    fs::create_dir(point.join("made")).unwrap();
    fs::write(point.join("made/written.bin"), &written).unwrap();
    assert!(fs::read(data.join("made/written.bin")).unwrap() == written, "it is in the bucket");
    fs::rename(point.join("made/written.bin"), point.join("made/moved.bin")).unwrap();
    goosefs_harness::wait_for("the rename is in the bucket", || {
        data.join("made/moved.bin").exists() && !data.join("made/written.bin").exists()
    });
    assert!(fs::read(point.join("made/moved.bin")).unwrap() == written);
    fs::remove_file(point.join("made/moved.bin")).unwrap();
    goosefs_harness::wait_for("the removal is in the bucket", || !data.join("made/moved.bin").exists());

    mounts_take_references_only(&cluster, &endpoint, &id, &key);
    assert_hidden(&cluster);
    cluster.finish().unwrap();
}

fn mounts_take_references_only(cluster: &DevCluster, endpoint: &str, id: &str, key: &str) {
    let mount = |path: &str, uri: &str, key: &str| {
        let (id, key) = (format!("aws.accessKeyId={id}"), format!("aws.secretKey={key}"));
        let options = ["--option", endpoint, "--option", &id, "--option", &key];
        let said = cluster.goosefs(&[&["fs", "mount", path, uri], &options[..]].concat());
        (said.code, format!("{}{}", said.stdout, said.stderr))
    };
    let (code, plain) = mount("/plain", "s3://tests/other", "geheim");
    assert_ne!(code, Some(0), "{plain}");
    assert!(plain.contains("aws.secretKey") && plain.contains("${file:/path}"), "{plain}");
    assert!(!plain.contains("geheim"), "{plain}");
    let (code, nowhere) = mount("/nowhere", "s3://nowhere/x", key);
    assert_ne!(code, Some(0), "{nowhere}");
    assert!(nowhere.contains("s3://nowhere/x") && nowhere.contains("NoSuchBucket"), "{nowhere}");
    let (code, other) = mount("/other", "s3://tests/other", key);
    assert_eq!(code, Some(0), "{other}");
    let table = cluster.goosefs(&["fs", "mount"]).stdout;
    assert!(table.contains("s3://tests/other") && table.contains(key), "{table}");
    let typed = cluster.goosefs(&["fs", "ls", "/", "-Daws.secretKey=geheim"]);
    let told = format!("{}{}", typed.stdout, typed.stderr);
    assert!(
        typed.code != Some(0) && told.contains("-Daws.secretKey") && !told.contains("geheim"),
        "{typed:?}"
    );
    let shown = cluster.goosefs(&["getConf", "aws.secretKey", "-Daws.secretKey=geheim"]).stdout;
    assert_eq!(shown.trim(), "******");
}

#[test]
fn keys_in_the_file_of_mounts_reach_masters_and_workers_and_nobody_else() {
    let _turn = turn();
    let Some(server) = or_skip("the file of mounts", S3Server::start(Speaks::Http)) else { return };
    fs::create_dir_all(server.bucket().join("data")).unwrap();
    fs::write(server.bucket().join("data/file"), "in the bucket").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mounts.json");
    let options = serde_json::json!({
        "aws.accessKeyId": S3Server::ID,
        "aws.secretKey": S3Server::KEY,
        "goosefs.underfs.s3.endpoint": server.endpoint(),
    });
    let mount = serde_json::json!({"path": "/kept", "uri": "s3://tests/data", "options": options});
    fs::write(&file, serde_json::json!({"generation": 1, "mounts": [mount]}).to_string()).unwrap();
    let args = vec![format!("-Dgoosefs.master.mounts.file={}", file.display())];
    let cluster = DevCluster::start(Launch { args, ..Launch::new(GOOSEFS) }).unwrap();
    goosefs_harness::wait_for("the mount is there", || {
        cluster.goosefs(&["fs", "mount"]).stdout.contains("s3://tests/data")
    });
    let cat = cluster.goosefs(&["fs", "cat", "/kept/file"]);
    assert_eq!((cat.code, cat.stdout.as_str()), (Some(0), "in the bucket"), "{cat:?}");
    let table = cluster.goosefs(&["fs", "mount"]).stdout;
    assert!(table.contains("******") && !table.contains(S3Server::KEY), "{table}");
    assert_hidden(&cluster);
    cluster.finish().unwrap();
}
