//! Copies into the mount have the times and modes of what was copied, though those are set before the copy is closed.

use super::launch;
use goosefs_harness::{DevCluster, Launch, pattern};
use std::fs::{self, FileTimes, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

fn run(program: &str, args: &[&str]) {
    // A hung mount must not hang the test.
    let output = Command::new("timeout").arg("60").arg(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
}

fn same(copy: &Path, source: &Path) {
    let (copy_is, source_is) = (fs::metadata(copy).unwrap(), fs::metadata(source).unwrap());
    assert_eq!(copy_is.modified().unwrap(), source_is.modified().unwrap(), "{}", copy.display());
    assert_eq!(copy_is.mode(), source_is.mode(), "{}", copy.display());
    assert_eq!(fs::read(copy).unwrap(), fs::read(source).unwrap());
}

#[test]
fn cp_and_tar_keep_times_and_modes() {
    let Some(launch) = launch("cp_and_tar_keep_times_and_modes") else { return };
    for write_type in ["CACHE_THROUGH", "MUST_CACHE", "ASYNC_THROUGH"] {
        let args = vec![format!("-Dgoosefs.user.file.writetype.default={write_type}")];
        let cluster = DevCluster::start(Launch { args, ..launch.clone() }).unwrap();
        let (source, mount) = (cluster.scratch().join("tree"), cluster.mount_point());
        fs::create_dir(&source).unwrap();
        for (number, length) in [(1_u64, 0), (2, 10), (3, 3_000_000)] {
            let file = source.join(format!("f{number}"));
            fs::write(&file, pattern(number, length)).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
            let then = UNIX_EPOCH + Duration::from_secs(1_000_000_000 + number);
            let times = FileTimes::new().set_modified(then);
            fs::File::options().write(true).open(&file).unwrap().set_times(times).unwrap();
        }
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        run("cp", &["-a", &text(&source), &text(&mount.join("copied"))]);
        let archive = text(&cluster.scratch().join("tree.tar"));
        run("tar", &["cf", &archive, "-C", &text(cluster.scratch()), "tree"]);
        run("tar", &["xpf", &archive, "-C", &text(&mount)]);
        for number in 1..=3 {
            let name = format!("f{number}");
            same(&mount.join("copied").join(&name), &source.join(&name));
            same(&mount.join("tree").join(&name), &source.join(&name));
        }
        cluster.finish().unwrap();
    }
}
