use super::*;
use crate::proto::internal::{Caller, DrainRequest, Empty, HelloRequest, HelloResponse, VersionRequest};
use crate::proto::method;
use crate::rpc::frame::{Call, Channel, FrameService, Peer, Target};
use crate::rpc::server;
use crate::task::Tasks;
use async_trait::async_trait;
use std::time::Duration;

fn key(letter: &str) -> ControlKey {
    ControlKey::parse(letter.repeat(SHORTEST).as_bytes()).unwrap()
}

#[test]
fn a_key_is_long_text_without_the_space_around_it_and_is_not_shown() {
    let text = "k".repeat(SHORTEST);
    let key = ControlKey::parse(format!(" {text}\n").as_bytes()).unwrap();
    assert_eq!(key.text(), text);
    assert!(!format!("{key:?}").contains('k'), "{key:?}");
    for (bad, why) in
        [(&b"short\n"[..], "5 bytes"), (&[b' '; 64][..], "0 bytes"), (&[0xff; 64][..], "no text")]
    {
        let error = ControlKey::parse(bad).unwrap_err();
        assert!(error.code == Code::InvalidArgument && error.message.contains(why), "{error}");
        assert!(error.hint.contains("openssl"), "{}", error.hint);
    }
}

#[test]
fn new_keys_are_hex_and_differ() {
    let (one, two) = (ControlKey::generate().unwrap(), ControlKey::generate().unwrap());
    assert_ne!(one, two);
    assert_eq!(one.text().len(), 64);
    assert!(one.text().bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(ControlKey::parse(one.text().as_bytes()).unwrap(), one);
}

#[test]
fn a_proof_holds_for_one_key_transport_challenge_and_user() {
    let asked = challenge().unwrap();
    let proof = key("k").prove(Transport::Frames, &asked, "root");
    assert!(key("k").holds(Transport::Frames, &asked, "root", &proof));
    assert!(!key("x").holds(Transport::Frames, &asked, "root", &proof));
    assert!(!key("k").holds(Transport::Sasl, &asked, "root", &proof));
    assert!(!key("k").holds(Transport::Frames, &challenge().unwrap(), "root", &proof));
    assert!(!key("k").holds(Transport::Frames, &asked, "ann", &proof));
    assert!(!key("k").holds(Transport::Frames, &asked, "root", &proof[1..]));
    assert!(!key("k").holds(Transport::Frames, &asked, "root", b""));
}

#[test]
fn the_proof_is_that_of_the_protocol() {
    let proof = key("k").prove(Transport::Sasl, &[7; 32], "root");
    // By Python's hmac.
    let hex: String = proof.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "ae7725745e5c76c58d821d83ec40b964bc20883b7d0e341f27211a2e0620f69b");
}

#[test]
fn a_server_follows_its_file_and_keeps_its_key_while_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.key");
    let missing = KeyFile::open(&path).unwrap_err();
    assert!(missing.message.contains("control.key") && missing.message.contains("security.control"));
    std::fs::write(&path, "too short").unwrap();
    let short = KeyFile::open(&path).unwrap_err();
    assert!(short.message.contains("control.key") && short.message.contains("security.control"));

    std::fs::write(&path, key("a").text()).unwrap();
    let file = KeyFile::open(&path).unwrap();
    let asked = challenge().unwrap();
    let check =
        |of: ControlKey| file.check(Transport::Sasl, &asked, "u", &of.prove(Transport::Sasl, &asked, "u"));
    check(key("a")).unwrap();
    std::fs::write(&path, key("b").text()).unwrap();
    check(key("b")).unwrap();
    let refused = check(key("a")).unwrap_err();
    assert_eq!(refused.code, Code::PermissionDenied);
    assert!(refused.message.contains("control.key") && refused.hint.contains("security.control"));
    std::fs::remove_file(&path).unwrap();
    check(key("b")).unwrap();
}

#[test]
fn a_caller_without_the_file_has_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.key");
    assert_eq!(ControlKey::of_caller(&Properties::new()).unwrap(), None);
    let properties = Properties::new().with(&keys::CONTROL_KEY_FILE, path.display().to_string());
    assert_eq!(ControlKey::of_caller(&properties).unwrap(), None);
    std::fs::write(&path, key("a").text()).unwrap();
    assert_eq!(ControlKey::of_caller(&properties).unwrap(), Some(key("a")));
    std::fs::write(&path, "x").unwrap();
    assert!(ControlKey::of_caller(&properties).unwrap_err().message.contains("control.key"));
}

/// Takes `DRAIN` from those who have the key, and everything else from all.
struct Guarded(Option<KeyFile>);

#[async_trait]
impl FrameService for Guarded {
    fn hello(&self, _: &Peer, _: &HelloRequest) -> Result<HelloResponse> {
        Ok(HelloResponse { version: 1, ..HelloResponse::default() })
    }

    fn control(&self) -> Option<&KeyFile> {
        self.0.as_ref()
    }

    async fn call(&self, call: Call) {
        let refused = call.method == method::DRAIN && call.peer.proof() == Proof::Missing;
        let answer = if refused { Err(Error::new(Code::PermissionDenied, "no proof")) } else { Ok(Empty {}) };
        call.answer(answer).await;
    }
}

const LONG: Duration = Duration::from_secs(20);

async fn served(control: Option<KeyFile>, tasks: &Tasks) -> Target {
    let listener = server::bind("test", "127.0.0.1:0").await.unwrap();
    let frames = Arc::new(Guarded(control)) as Arc<dyn FrameService>;
    let routes = tonic::service::Routes::default();
    Target::Tcp(server::serve("test", listener, routes, Some(frames), tasks).unwrap().to_string())
}

async fn dial(target: &Target, key: Option<&ControlKey>, tasks: &Tasks) -> Channel {
    let caller = Some(Caller { user: "root".to_owned(), ..Caller::default() });
    let hello = HelloRequest { version: 1, role: "test".to_owned(), caller, cluster: None };
    Channel::connect_proven(target, hello, key, tasks, LONG).await.unwrap()
}

async fn drain(channel: &Channel) -> Result<Empty> {
    channel.call(method::DRAIN, &DrainRequest::default()).await
}

async fn version(channel: &Channel) -> Result<Empty> {
    channel.call(method::VERSION, &VersionRequest::default()).await
}

#[tokio::test]
async fn a_framed_connection_is_proven_before_its_first_call_and_one_with_another_key_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.key");
    std::fs::write(&path, key("a").text()).unwrap();
    let tasks = Tasks::new("server");
    let target = served(Some(KeyFile::open(&path).unwrap()), &tasks).await;

    drain(&dial(&target, Some(&key("a")), &tasks).await).await.unwrap();

    let without = dial(&target, None, &tasks).await;
    assert_eq!(drain(&without).await.unwrap_err().code, Code::PermissionDenied);
    version(&without).await.unwrap();

    let other = dial(&target, Some(&key("b")), &tasks).await;
    let refused = version(&other).await.unwrap_err();
    assert_eq!(refused.code, Code::PermissionDenied);
    assert!(refused.message.contains("control.key"), "{refused}");
    other.closed().await;

    let open = served(None, &tasks).await;
    version(&dial(&open, Some(&key("a")), &tasks).await).await.unwrap();
}

#[tokio::test]
async fn a_proof_that_nobody_asked_for_ends_the_connection() {
    let tasks = Tasks::new("server");
    let channel = dial(&served(None, &tasks).await, None, &tasks).await;
    let request = crate::proto::internal::ProveRequest { proof: vec![1; 32].into() };
    let refused = channel.call::<_, Empty>(method::PROVE, &request).await.unwrap_err();
    assert_eq!(refused.code, Code::PermissionDenied);
    channel.closed().await;
}
