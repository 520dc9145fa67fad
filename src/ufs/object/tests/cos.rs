//! Against a bucket that checks every signature as Tencent Cloud does.

use super::cos_server::{BUCKET, CosServer, ID, KEY};
use super::{awkward, mounted};
use crate::suite::{self, listed};
use crate::{Attributes, Ufs};
use bytes::Bytes;
use goosefs_core::proto::internal::NodeKind;
use goosefs_core::{Code, Error};
use std::sync::Arc;

fn bucket(server: &CosServer, prefix: &str, more: &[(&str, &str)]) -> Arc<dyn Ufs> {
    let endpoint = server.endpoint();
    let mut all = vec![
        ("fs.cosn.userinfo.secretId", ID),
        ("fs.cosn.userinfo.secretKey", KEY),
        ("fs.cosn.bucket.endpoint_suffix", &endpoint),
    ];
    all.extend(more);
    mounted(&format!("cosn://{BUCKET}/{prefix}"), &all).unwrap()
}

fn assert_told(error: &Error, code: Code, words: &[&str]) {
    let text = format!("{error} / {} / {error:?}", error.hint);
    assert_eq!(error.code, code, "{text}");
    assert!(error.message.contains("cosn://"), "the mount is not named: {text}");
    assert!(words.iter().all(|word| text.contains(word)), "{words:?} in {text}");
    assert!(!error.hint.is_empty() && !text.contains("geheim") && !text.contains(KEY), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_suite_with_every_request_signed() {
    for prefix in ["", "deep/prefix with blank"] {
        let server = CosServer::start().await;
        let ufs = bucket(&server, prefix, &[]);
        let mut tree = awkward(&bucket(&server, prefix, &[]));
        suite::run(&*ufs, &mut tree).await;
        assert!(server.requests().len() > 100 && server.open_uploads() == 0);
    }
}

#[tokio::test]
async fn keys_that_are_wrong_unknown_or_for_no_bucket_are_told_and_not_shown() {
    let server = CosServer::start().await;
    let wrong = bucket(&server, "x", &[("fs.cosn.userinfo.secretKey", "geheim")]);
    let told = ["cosn://tests-1250000000/x", "SignatureDoesNotMatch"];
    assert_told(&wrong.stat("").await.unwrap_err(), Code::PermissionDenied, &told);
    assert!(!format!("{wrong:?}").contains("geheim"), "{wrong:?}");
    let unknown = bucket(&server, "x", &[("fs.cosn.userinfo.secretId", "NOBODY")]);
    assert_told(&unknown.stat("").await.unwrap_err(), Code::PermissionDenied, &["InvalidAccessKeyId"]);
    let endpoint = server.endpoint();
    let all = [
        ("fs.cosn.userinfo.secretId", ID),
        ("fs.cosn.userinfo.secretKey", "geheim"),
        ("fs.cosn.bucket.endpoint_suffix", endpoint.as_str()),
    ];
    let nowhere = mounted("cosn://nowhere-1250000000", &all).unwrap();
    assert_told(&nowhere.stat("file").await.unwrap_err(), Code::Ufs, &["NoSuchBucket"]);
    assert!(server.requests().is_empty());
    let error = mounted("cosn://tests-1250000000", &all[..2]).unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument);
    assert!(error.hint.contains("fs.cosn.bucket.region"), "{error:?}");
}

#[tokio::test]
async fn a_key_that_was_changed_is_read_again() {
    let server = CosServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "first").unwrap();
    server.change_key("first");
    let reference = format!("${{file:{}}}", file.display());
    let ufs = bucket(&server, "", &[("fs.cosn.userinfo.secretKey", &reference)]);
    ufs.stat("").await.unwrap();
    server.change_key("second");
    assert_eq!(ufs.stat("").await.unwrap_err().code, Code::PermissionDenied);
    std::fs::write(&file, "second").unwrap();
    ufs.stat("").await.unwrap();
}

#[tokio::test]
async fn a_name_that_is_file_and_directory_is_a_file_everywhere() {
    let server = CosServer::start().await;
    for key in ["d/a", "d/a!b", "d/a-b", "d/a/below", "d/b/x", "d//empty", "d/./dot", "d/z"] {
        server.put(key, "x");
    }
    // More names than a page has, so that file and directory come on different pages.
    for number in 0..9 {
        server.put(&format!("d/a-{number}"), "x");
    }
    let ufs = bucket(&server, "", &[]);
    let entries = listed(&*ufs, "d").await.unwrap();
    let kinds: Vec<(&str, NodeKind)> = entries.values().map(|e| (e.name.as_str(), e.kind)).collect();
    assert_eq!(kinds.len(), 14, "{kinds:?}");
    assert!(
        kinds.contains(&("a", NodeKind::File)) && kinds.contains(&("b", NodeKind::Directory)),
        "{kinds:?}"
    );
    assert_eq!(ufs.stat("d/a").await.unwrap().kind, NodeKind::File);
}

#[tokio::test]
async fn parts_are_signed_too_and_those_given_up_are_dropped() {
    let server = CosServer::start().await;
    let ufs = bucket(&server, "p", &[("fs.cosn.upload.part.size", "5MB")]);
    let bytes = crate::testing::pattern(9, 12_000_000);
    let mut writer = ufs.create("large", &Attributes::default()).await.unwrap();
    writer.write(Bytes::from(bytes.clone())).await.unwrap();
    let version = writer.finish().await.unwrap();
    assert_eq!(version, ufs.stat("large").await.unwrap().fingerprint);
    assert!(suite::bytes_of(&*ufs, "large", 0..12_000_000, &version).await.unwrap() == bytes);
    let mut writer = ufs.create("given up", &Attributes::default()).await.unwrap();
    writer.write(Bytes::from(bytes)).await.unwrap();
    drop(writer);
    assert_eq!(server.open_uploads(), 1);
    ufs.create("other", &Attributes::default()).await.unwrap().finish().await.unwrap();
    assert_eq!(server.open_uploads(), 0);
}
