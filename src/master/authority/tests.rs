use super::*;
use goosefs_core::proto::internal::Attr;
use goosefs_core::proto::internal::HelloRequest;
use goosefs_core::rpc::control::KeyFile;
use std::path::PathBuf;

fn config() -> Config {
    let mut config = Config::new(0, PathBuf::new(), vec!["a:1".to_owned()], vec!["a:2".to_owned()]);
    config.superuser = "boss".to_owned();
    config.supergroup = "admins-of-no-machine".to_owned();
    config
}

fn caller(user: &str, group: &str) -> Caller {
    Caller { user: user.to_owned(), group: group.to_owned() }
}

#[tokio::test]
async fn rights_are_the_digit_of_the_caller_and_superusers_have_all() {
    let authority = Authority::new(&config());
    let attr = Attr { mode: 0o640, owner: "ann".into(), group: "nobodys-group".into(), ..Default::default() };
    let has = async |user: &str, group: &str, bits| {
        authority.of_caller(&caller(user, group)).await.has(&attr, bits)
    };
    assert!(has("ann", "x", READ | WRITE).await && !has("ann", "x", SEARCH).await);
    assert!(has("bob", "nobodys-group", READ).await && !has("bob", "nobodys-group", WRITE).await);
    assert!(!has("eve", "others", READ).await);
    assert!(has("boss", "x", READ | WRITE | SEARCH).await);
    assert!(has("deputy", "admins-of-no-machine", READ | WRITE | SEARCH).await);
}

#[tokio::test]
async fn the_masters_are_guarded_where_files_are_not() {
    let ann = caller("ann", "x");
    let guarded = Authority::new(&config()).of_caller(&ann).await;
    assert!(guarded.rule("mount").unwrap_err().message.contains("user ann may not mount"));
    guarded.act_for(&ann).unwrap();
    guarded.act_for(&caller("bob", "x")).unwrap_err();
    let open = Authority::new(&Config { permissions: false, ..config() }).of_caller(&ann).await;
    open.rule("mount").unwrap();
    open.administer("change the masters").unwrap_err();
    let unnamed = Authority::new(&Config { auth: AuthType::NoSasl, ..config() }).of_caller(&ann).await;
    unnamed.administer("change the masters").unwrap();
}

#[tokio::test]
async fn what_a_kernel_has_checked_is_not_checked_again() {
    let authority = Authority::new(&config());
    let peer = |role: &str| {
        let mut peer = Peer::new(None, Default::default());
        peer.hello =
            HelloRequest { role: role.to_owned(), caller: Some(caller("ann", "x")), ..Default::default() };
        peer
    };
    authority.of_peer(&peer("fuse")).await.act_for(&caller("bob", "y")).unwrap();
    authority.of_peer(&peer("client")).await.act_for(&caller("bob", "y")).unwrap_err();
}

#[tokio::test]
async fn a_superusers_name_is_not_enough_where_masters_have_a_control_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.key");
    std::fs::write(&path, "k".repeat(32)).unwrap();
    let authority = Authority::new(&Config { control: Some(KeyFile::open(&path).unwrap()), ..config() });
    let boss = caller("boss", "x");
    let unproven = authority.of_administrator(&boss, Proof::Missing).await;
    let refused = unproven.administer("drain workers").unwrap_err();
    assert!(refused.message.contains("to drain workers takes the control key"), "{refused}");
    assert!(refused.hint.contains("goosefs.security.control.key.file"), "{}", refused.hint);
    unproven.rule("mount").unwrap();
    authority.of_administrator(&boss, Proof::Given).await.administer("drain workers").unwrap();
    authority.of_administrator(&caller("ann", "x"), Proof::Given).await.administer("drain").unwrap_err();
    let mut mount = Peer::new(None, Default::default());
    mount.hello.role = "fuse".to_owned();
    authority.of_peer(&mount).await.administer("drain workers").unwrap_err();
}
