//! Against a real S3 server.

use super::{awkward, mounted, options};
use crate::suite::{self, bytes_of, listed};
use crate::testing::{Answer, S3Server, Scripted, Speaks, or_skip};
use crate::{Attributes, Fence, Ufs, connect_fenced};
use bytes::Bytes;
use futures::StreamExt;
use goosefs_core::proto::internal::NodeKind;
use goosefs_core::{Code, Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

fn server(test: &str, speaks: Speaks) -> Option<S3Server> {
    or_skip(test, S3Server::start(speaks))
}

/// `prefix` of the server's bucket, with `more` options over those that are right.
fn bucket(server: &S3Server, prefix: &str, more: &[(&str, &str)]) -> Result<Arc<dyn Ufs>> {
    let endpoint = server.endpoint();
    let ca_file = server.ca_file().map(|file| file.to_str().unwrap().to_owned());
    let mut all = vec![
        ("aws.accessKeyId", S3Server::ID),
        ("aws.secretKey", S3Server::KEY),
        ("goosefs.underfs.s3.endpoint", &endpoint),
    ];
    all.extend(ca_file.as_deref().map(|file| ("goosefs.underfs.object.tls.ca.file", file)));
    all.extend(more);
    mounted(&format!("s3://{}/{prefix}", S3Server::BUCKET), &all)
}

async fn write(ufs: &dyn Ufs, path: &str, bytes: &[u8]) {
    let mut writer = ufs.create(path, &Attributes::default()).await.unwrap();
    writer.write(Bytes::copy_from_slice(bytes)).await.unwrap();
    writer.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_suite_with_and_without_a_prefix_and_by_tls() {
    for (speaks, prefix) in
        [(Speaks::Http, ""), (Speaks::Http, "deep/prefix with blank"), (Speaks::Https, "p")]
    {
        let Some(server) = server("the suite on S3", speaks) else { return };
        let ufs = bucket(&server, prefix, &[]).unwrap();
        let mut tree = awkward(&bucket(&server, prefix, &[]).unwrap());
        suite::run(&*ufs, &mut tree).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_objects_go_in_parts_and_appear_whole() {
    let Some(server) = server("parts on S3", Speaks::Http) else { return };
    let ufs = bucket(&server, "", &[("goosefs.underfs.object.upload.part.size", "5MB")]).unwrap();
    let bytes = crate::testing::pattern(3, 17_000_000);
    let mut writer = ufs.create("large", &Attributes::default()).await.unwrap();
    for chunk in bytes.chunks(1_234_567) {
        writer.write(Bytes::copy_from_slice(chunk)).await.unwrap();
        assert_eq!(ufs.stat("large").await.unwrap_err().code, Code::NotFound);
    }
    assert!(listed(&*ufs, "").await.unwrap().is_empty());
    let version = writer.finish().await.unwrap();
    assert_eq!(version, ufs.stat("large").await.unwrap().fingerprint);
    assert!(version.etag.ends_with("-4\""), "four parts: {version:?}");
    assert!(bytes_of(&*ufs, "large", 0..version.length, &version).await.unwrap() == bytes);
    ufs.rename("large", "moved", false).await.unwrap();
    let moved = ufs.stat("moved").await.unwrap().fingerprint;
    assert!(bytes_of(&*ufs, "moved", 0..moved.length, &moved).await.unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_were_given_up_leave_nothing_at_the_service() {
    let Some(server) = server("given-up uploads on S3", Speaks::Http) else { return };
    let ufs = bucket(&server, "", &[("goosefs.underfs.object.upload.part.size", "5MB")]).unwrap();
    let begun = |requests: &str| requests.lines().filter(|line| line.contains("| POST |")).count();
    let aborts = |requests: &str| requests.lines().filter(|line| line.contains("| DELETE |")).count();
    for _ in 0..2 {
        let mut writer = ufs.create("given up", &Attributes::default()).await.unwrap();
        writer.write(Bytes::from(vec![7; 12_000_000])).await.unwrap();
        writer.abort().await;
    }
    assert_eq!(begun(&server.requests()), 2, "{}", server.requests());
    assert_eq!(aborts(&server.requests()), 2, "{}", server.requests());
    let mut writer = ufs.create("given up", &Attributes::default()).await.unwrap();
    writer.write(Bytes::from(vec![7; 12_000_000])).await.unwrap();
    drop(writer);
    write(&*ufs, "other", b"x").await;
    assert_eq!(aborts(&server.requests()), 3, "{}", server.requests());
    assert_eq!(listed(&*ufs, "").await.unwrap().into_keys().collect::<Vec<_>>(), ["other"]);
}

#[tokio::test]
async fn a_directory_stays_when_its_last_entry_goes() {
    let Some(server) = server("directories on S3", Speaks::Http) else { return };
    let ufs = bucket(&server, "", &[]).unwrap();
    std::fs::create_dir_all(server.bucket().join("by/others")).unwrap();
    std::fs::write(server.bucket().join("by/others/file"), "x").unwrap();
    ufs.remove("by/others/file", NodeKind::File).await.unwrap();
    assert!(listed(&*ufs, "by/others").await.unwrap().is_empty());
    write(&*ufs, "a/file", b"x").await;
    ufs.rename("a/file", "b/file", false).await.unwrap();
    assert_eq!(listed(&*ufs, "").await.unwrap().into_keys().collect::<Vec<_>>(), ["a", "b", "by"]);
    ufs.remove("a", NodeKind::Directory).await.unwrap();
    assert_eq!(ufs.stat("a").await.unwrap_err().code, Code::NotFound);
}

#[tokio::test]
async fn objects_without_a_tag_are_read_by_length_and_time() {
    let Some(server) = server("no tags on S3", Speaks::Http) else { return };
    let ufs = bucket(&server, "", &[]).unwrap();
    // The gateway has no tag for what did not come through it.
    let file = server.bucket().join("file");
    std::fs::write(&file, "old bytes").unwrap();
    let old = ufs.stat("file").await.unwrap().fingerprint;
    assert!(old.etag.is_empty(), "{old:?}");
    assert_eq!(bytes_of(&*ufs, "file", 0..9, &old).await.unwrap(), b"old bytes");
    std::fs::write(&file, "new bytes").unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
    std::fs::File::options().append(true).open(&file).unwrap().set_modified(later).unwrap();
    assert_eq!(bytes_of(&*ufs, "file", 0..9, &old).await.unwrap_err().code, Code::Stale);
}

#[tokio::test]
async fn a_directorys_rename_goes_on_where_it_broke_off_and_nobody_elses_does() {
    let Some(server) = server("broken renames on S3", Speaks::Http) else { return };
    let ufs = bucket(&server, "", &[]).unwrap();
    for number in 0..20 {
        write(&*ufs, &format!("from/sub/{number}"), b"x").await;
    }
    // A rename that copied one object and then died.
    ufs.make_directory("to/sub", &Attributes::default()).await.unwrap();
    write(&*ufs, "to/.goosefs-rename", b"from").await;
    write(&*ufs, "to/sub/0", b"x").await;
    assert_eq!(listed(&*ufs, "to").await.unwrap().into_keys().collect::<Vec<_>>(), ["sub"]);
    ufs.make_directory("another", &Attributes::default()).await.unwrap();
    assert_eq!(ufs.rename("another", "to", false).await.unwrap_err().code, Code::AlreadyExists);
    for _ in 0..2 {
        ufs.rename("from", "to", false).await.unwrap();
    }
    assert_eq!(listed(&*ufs, "to/sub").await.unwrap().len(), 20);
    assert_eq!(ufs.stat("from").await.unwrap_err().code, Code::NotFound);
    ufs.remove_all("to/sub").await.unwrap();
    ufs.remove("to", NodeKind::Directory).await.unwrap();
}

#[tokio::test]
async fn nothing_is_changed_against_the_fence() {
    let Some(server) = server("the fence on S3", Speaks::Http) else { return };
    let open = bucket(&server, "", &[]).unwrap();
    write(&*open, "f", b"old").await;
    open.make_directory("d", &Attributes::default()).await.unwrap();
    let endpoint = server.endpoint();
    let settings = options(&[
        ("aws.accessKeyId", S3Server::ID),
        ("aws.secretKey", S3Server::KEY),
        ("goosefs.underfs.s3.endpoint", &endpoint),
    ]);
    let fence = Fence::new(|| Err(Error::not_leader("")));
    let ufs = connect_fenced("s3://tests", &settings, &fence).unwrap();
    suite::every_change_is_fenced(&*ufs).await;
    assert_eq!(listed(&*open, "").await.unwrap().into_keys().collect::<Vec<_>>(), ["d", "f"]);
    let version = open.stat("f").await.unwrap().fingerprint;
    assert_eq!(bytes_of(&*open, "f", 0..3, &version).await.unwrap(), b"old");
}

/// The mount is named, the remedy is told, the key is not.
fn assert_told(error: &Error, code: Code, words: &[&str]) {
    let text = format!("{error} / {} / {error:?}", error.hint);
    assert_eq!(error.code, code, "{text}");
    assert!(error.message.contains("s3://"), "the mount is not named: {text}");
    assert!(words.iter().all(|word| text.contains(word)), "{words:?} in {text}");
    assert!(!error.hint.is_empty(), "{text}");
    assert!(!text.contains("geheim"), "{text}");
}

#[tokio::test]
async fn a_wrong_key_is_told_and_not_shown() {
    let Some(server) = server("a wrong key on S3", Speaks::Http) else { return };
    let ufs = bucket(&server, "x", &[("aws.secretKey", "geheim-but-wrong")]).unwrap();
    assert_told(
        &ufs.stat("").await.unwrap_err(),
        Code::PermissionDenied,
        &["s3://tests/x", "SignatureDoesNotMatch"],
    );
    assert!(!format!("{ufs:?}").contains("geheim"), "{ufs:?}");
    let ufs = bucket(&server, "x", &[("aws.accessKeyId", "NOBODY")]).unwrap();
    let error = ufs.stat("").await.unwrap_err();
    assert_told(&error, Code::PermissionDenied, &["s3://tests/x", "does not know this key"]);
    let created = ufs.create("file", &Attributes::default()).await.err().unwrap();
    assert_told(&created, Code::PermissionDenied, &["s3://tests/x/file"]);
}

#[tokio::test]
async fn a_missing_bucket_is_told_and_never_taken_for_an_empty_one() {
    let Some(server) = server("no bucket on S3", Speaks::Http) else { return };
    let endpoint = server.endpoint();
    let keys = [("aws.accessKeyId", S3Server::ID), ("aws.secretKey", S3Server::KEY)];
    let all = [keys[0], keys[1], ("goosefs.underfs.s3.endpoint", endpoint.as_str())];
    let ufs = mounted("s3://nowhere/x", &all).unwrap();
    assert_told(&ufs.stat("").await.unwrap_err(), Code::Ufs, &["s3://nowhere/x", "NoSuchBucket"]);
    assert_told(&ufs.stat("file").await.unwrap_err(), Code::Ufs, &["NoSuchBucket"]);
    assert_told(&listed(&*ufs, "").await.unwrap_err(), Code::Ufs, &["NoSuchBucket"]);
}

#[tokio::test]
async fn a_wrong_endpoint_is_told() {
    let keys = |endpoint: &str| {
        let once = ("goosefs.underfs.object.retries", "0");
        let pairs = [("aws.accessKeyId", "id"), ("aws.secretKey", "geheim"), once];
        let mut all = pairs.to_vec();
        all.push(("goosefs.underfs.s3.endpoint", endpoint));
        mounted("s3://tests/x", &all).unwrap()
    };
    let error = keys("http://127.0.0.1:1").stat("").await.unwrap_err();
    assert_told(&error, Code::Ufs, &["s3://tests/x", "refused", "endpoint"]);
    let error = keys("http://no-such-host.invalid").stat("").await.unwrap_err();
    assert_told(&error, Code::Ufs, &["s3://tests/x", "endpoint"]);
    let page = Scripted::start(|_| Answer::page("<title>Welcome</title>")).unwrap();
    let error = keys(page.uri().trim_end_matches('/')).stat("").await.unwrap_err();
    assert_told(&error, Code::Ufs, &["s3://tests/x", "endpoint"]);
}

#[tokio::test]
async fn certificates_that_are_expired_or_of_nobody_are_told() {
    let Some(expired) = server("an expired certificate on S3", Speaks::Expired) else { return };
    let error = bucket(&expired, "x", &[]).unwrap().stat("").await.unwrap_err();
    assert_told(&error, Code::Ufs, &["s3://tests/x", "xpired", "tls.ca.file"]);
    let Some(unknown) = server("an unknown authority on S3", Speaks::Https) else { return };
    let endpoint = unknown.endpoint();
    let keys = [("aws.accessKeyId", S3Server::ID), ("aws.secretKey", S3Server::KEY)];
    let ufs =
        mounted("s3://tests/x", &[keys[0], keys[1], ("goosefs.underfs.s3.endpoint", &endpoint)]).unwrap();
    let error = ufs.stat("").await.unwrap_err();
    assert_told(&error, Code::Ufs, &["s3://tests/x", "certificate", "tls.ca.file"]);
}

#[tokio::test]
async fn keys_are_read_again_where_they_lie_once_they_are_refused() {
    let Some(server) = server("rotation on S3", Speaks::Http) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "an-old-geheim\n").unwrap();
    let reference = format!("${{file:{}}}", file.display());
    let ufs = bucket(&server, "", &[("aws.secretKey", &reference)]).unwrap();
    assert_eq!(ufs.stat("").await.unwrap_err().code, Code::PermissionDenied);
    std::fs::write(&file, S3Server::KEY).unwrap();
    ufs.stat("").await.unwrap();
    write(&*ufs, "file", b"x").await;
}

const LIST: &str = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";

#[tokio::test]
async fn what_may_pass_is_asked_again_and_silence_is_not() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let server = Scripted::start(move |_| {
        if count.fetch_add(1, Ordering::SeqCst) < 2 {
            return Answer::new("503 Slow Down", &[], b"<Error><Code>SlowDown</Code></Error>");
        }
        Answer::new("200 OK", &["Content-Type: application/xml"], LIST.as_bytes())
    })
    .unwrap();
    let endpoint = server.uri();
    let keys = [("aws.accessKeyId", "id"), ("aws.secretKey", "geheim")];
    let ufs = mounted("s3://tests", &[keys[0], keys[1], ("goosefs.underfs.s3.endpoint", &endpoint)]).unwrap();
    ufs.stat("").await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 3);

    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let short = ("goosefs.underfs.object.header.timeout", "200ms");
    let ufs = mounted("s3://tests", &[keys[0], keys[1], short, ("goosefs.underfs.s3.endpoint", &endpoint)])
        .unwrap();
    let began = std::time::Instant::now();
    let error = ufs.stat("").await.unwrap_err();
    assert_eq!(error.code, Code::DeadlineExceeded, "{error}");
    assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_transfer_that_breaks_off_goes_on_and_never_with_another_version() {
    let old = Arc::new(AtomicBool::new(true));
    let served = Arc::clone(&old);
    let bytes = crate::testing::pattern(5, 4_000_000);
    let original = bytes.clone();
    let server = Scripted::start(move |request| {
        let tag = if served.load(Ordering::SeqCst) { "\"old\"" } else { "\"new\"" };
        // Half a megabyte an answer, then the connection is gone.
        Answer::file(request, &original, tag).cut_after(500_000)
    })
    .unwrap();
    let endpoint = server.uri();
    let keys = [("aws.accessKeyId", "id"), ("aws.secretKey", "geheim")];
    let ufs = mounted("s3://tests", &[keys[0], keys[1], ("goosefs.underfs.s3.endpoint", &endpoint)]).unwrap();
    let version = ufs.stat("file").await.unwrap().fingerprint;
    assert_eq!((version.length, version.etag.as_str()), (4_000_000, "\"old\""));
    assert!(bytes_of(&*ufs, "file", 0..4_000_000, &version).await.unwrap() == bytes);
    let mut stream = ufs.read("file", 0..4_000_000, &version).await.unwrap();
    stream.next().await.unwrap().unwrap();
    old.store(false, Ordering::SeqCst);
    let error = loop {
        match stream.next().await.expect("an error before the end") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.code, Code::Stale, "{error}");
}

#[tokio::test]
async fn that_no_keys_are_set_is_told() {
    let Some(server) = server("no keys on S3", Speaks::Http) else { return };
    let endpoint = server.endpoint();
    let endpoint = ("goosefs.underfs.s3.endpoint", endpoint.as_str());
    let short = [
        ("goosefs.underfs.object.connection.timeout", "300ms"),
        ("goosefs.underfs.object.header.timeout", "500ms"),
    ];
    // Where a machine's role would be asked for, nobody answers.
    let ufs = mounted("s3://tests/x", &[endpoint, short[0], short[1]]).unwrap();
    let began = std::time::Instant::now();
    let error = ufs.stat("").await.unwrap_err();
    assert_told(&error, Code::PermissionDenied, &["s3://tests/x", "no credentials are set"]);
    assert!(began.elapsed() < std::time::Duration::from_secs(10), "{:?}", began.elapsed());
    let anonymous = mounted("s3://tests/x", &[endpoint, ("goosefs.underfs.s3.anonymous", "true")]).unwrap();
    let error = anonymous.stat("").await.unwrap_err();
    assert_told(&error, Code::PermissionDenied, &["s3://tests/x", "AccessDenied"]);
}
