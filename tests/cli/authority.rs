//! What one user may not do to another's files, and what only superusers may.

use super::{GOOSEFS, complains, says, turn};
use goosefs_harness::{DevCluster, Launch};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

#[test]
fn another_user_is_kept_from_what_is_not_his_and_from_mounts() {
    let _turn = turn();
    let cluster = DevCluster::start(Launch::small(GOOSEFS)).unwrap();
    let put = |name: &str, mode: u32| {
        let path = cluster.ufs().join(name);
        fs::write(&path, name).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    };
    for (name, mode) in [("private", 0o700), ("shared", 0o777), ("sticky", 0o1777)] {
        fs::create_dir(cluster.ufs().join(name)).unwrap();
        fs::set_permissions(cluster.ufs().join(name), Permissions::from_mode(mode)).unwrap();
    }
    for (name, mode) in [
        ("secret", 0o600),
        ("open", 0o644),
        ("private/inner", 0o644),
        ("shared/secret", 0o600),
        ("sticky/theirs", 0o666),
    ] {
        put(name, mode);
    }
    let nobody = |args: &[&str]| {
        cluster.goosefs(&[&["fs", "-Dgoosefs.security.login.username=nobody"], args].concat())
    };
    let refused = |args: &[&str], path: &str| complains(&nobody(args), &["user nobody may not", path]);
    assert_eq!(nobody(&["cat", "/open"]).stdout, "open");
    refused(&["cat", "/secret"], "/secret");
    refused(&["copyToLocal", "/secret", "out"], "/secret");
    refused(&["rm", "/open"], "write /");
    refused(&["mkdir", "/new"], "write /");
    refused(&["mv", "/open", "/shared/open"], "write /");
    refused(&["ls", "/private"], "read /private");
    refused(&["stat", "/private/inner"], "search /private");
    refused(&["cat", "/private/inner"], "search /private");
    refused(&["rm", "/sticky/theirs"], "/sticky/theirs");
    refused(&["mount", "/etcc", "/etc"], "mount");
    refused(&["unmount", "/nothing"], "unmount");
    let admin = ["fsadmin", "-Dgoosefs.security.login.username=nobody", "journal", "checkpoint"];
    complains(&cluster.goosefs(&admin), &["user nobody may not change or back up the masters"]);

    fs::write(cluster.scratch().join("mine"), "mine").unwrap();
    assert_eq!(nobody(&["copyFromLocal", "mine", "/sticky/mine"]).code, Some(0));
    assert_eq!(nobody(&["cat", "/sticky/mine"]).stdout, "mine");
    says(&nobody(&["rm", "/sticky/mine"]), &["/sticky/mine has been removed"]);
    says(&nobody(&["rm", "/shared/secret"]), &["/shared/secret has been removed"]);
    // Who runs the masters may all of it.
    assert_eq!(cluster.goosefs(&["fs", "cat", "/private/inner"]).stdout, "private/inner");
    says(&cluster.goosefs(&["fs", "rm", "/secret"]), &["/secret has been removed"]);
    cluster.finish().unwrap();
}
