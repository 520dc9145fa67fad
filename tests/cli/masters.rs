//! The cluster: `masterInfo`, `leader`, `fsadmin report` and the mount table, with three masters and two workers.

use super::{GOOSEFS, complains, fails, says, turn};
use goosefs_harness::{DevCluster, Launch, Said, undated, wait_for};
use goosefs_ufs::testing::{Answer, Scripted};

/// Asks one master alone.
fn ask(cluster: &DevCluster, master: &str, args: &[&str]) -> Said {
    let binary = cluster.binary().with("GOOSEFS_MASTER_RPC_ADDRESSES", master);
    binary.run(args).unwrap()
}

fn leader(cluster: &DevCluster, master: &str) -> String {
    let said = ask(cluster, master, &["fs", "masterInfo"]);
    said.lines()[0].strip_prefix("current leader master: ").map(str::to_owned).unwrap_or_default()
}

#[test]
fn every_master_names_the_leader_and_all_masters() {
    let _turn = turn();
    let mut cluster = DevCluster::start(Launch {
        // A master is killed: whoever speaks with it may say so, and what it was writing may be cut off.
        allowed: ["goosefs_core::raft", "openraft", "raft_engine"].map(str::to_owned).to_vec(),
        ..Launch::new(GOOSEFS)
    })
    .unwrap();
    let port = cluster.port_base();
    let all = format!("All masters: [127.0.0.1:{port}, 127.0.0.1:{}, 127.0.0.1:{}]", port + 10, port + 20);
    let masters = cluster.masters();
    let first = leader(&cluster, &masters[0]);
    assert!(masters.contains(&first), "{first}");
    for master in &masters {
        let line = format!("current leader master: {first}");
        says(&ask(&cluster, master, &["fs", "masterInfo"]), &[&line, &all]);
    }
    says(&cluster.goosefs(&["fs", "leader"]), &["127.0.0.1"]);

    let gone = masters.iter().position(|master| *master == first).unwrap();
    cluster.kill(&format!("master-{gone}")).unwrap();
    let others: Vec<&String> = masters.iter().filter(|master| **master != first).collect();
    wait_for("another master leads", || {
        let now = leader(&cluster, others[0]);
        others.contains(&&now)
    });
    let second = leader(&cluster, others[1]);
    for master in &others {
        let line = format!("current leader master: {second}");
        says(&ask(&cluster, master, &["fs", "masterInfo"]), &[&line, &all]);
    }
    cluster.restart(&format!("master-{gone}")).unwrap();
    says(&ask(&cluster, &first, &["fs", "masterInfo"]), &[&format!("current leader master: {second}"), &all]);
    cluster.finish().unwrap();
}

#[test]
fn reports_have_the_lines_that_fluid_reads() {
    let _turn = turn();
    let cluster = DevCluster::start(Launch {
        args: vec!["--worker-quota=1GB".to_owned()],
        ..Launch { workers: 2, ..Launch::small(GOOSEFS) }
    })
    .unwrap();
    let port = cluster.port_base();
    for args in [&["fsadmin", "report"][..], &["fsadmin", "report", "summary"]] {
        let said = cluster.goosefs(args);
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
        let text = undated(&said.stdout);
        let mut lines: Vec<&str> = text.lines().collect();
        assert!(lines[5].starts_with("    Uptime: 0 day(s), 0 hour(s), "), "{}", lines[5]);
        lines.remove(5);
        assert_eq!(
            lines,
            [
                "GooseFS cluster summary: ",
                &format!("    Master Address: 127.0.0.1:{port}"),
                &format!("    Web Port: {}", port + 1),
                &format!("    Rpc Port: {port}"),
                "    Started: MM-dd-yyyy HH:mm:ss:SSS",
                &format!("    Version: {}", env!("CARGO_PKG_VERSION")),
                "    Safe Mode: false",
                "    Zookeeper Enabled: false",
                "    Live Workers: 2",
                "    Lost Workers: 0",
                "    Total Capacity: 2048.00MB",
                "        Tier: SSD  Size: 2048.00MB",
                "    Used Capacity: 0B",
                "        Tier: SSD  Size: 0B",
                "    Free Capacity: 2048.00MB",
            ]
        );
    }
    let capacity = |args: &[&str]| {
        let said = cluster.goosefs(&[&["fsadmin", "report", "capacity"], args].concat());
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
        said.stdout
    };
    // How long ago the last heartbeat was is not ours to say.
    let beats = |text: &str| text.replace(" 1                capacity", " 0                capacity");
    let expected = "\
Capacity information for all workers: 
    Total Capacity: 2048.00MB
        Tier: SSD  Size: 2048.00MB
    Used Capacity: 0B
        Tier: SSD  Size: 0B
    Used Percentage: 0%
    Free Percentage: 100%

Worker Name      Last Heartbeat   Storage       SSD
127.0.0.1        0                capacity      1024.00MB
                                  used          0B (0%)
127.0.0.2        0                capacity      1024.00MB
                                  used          0B (0%)
";
    assert_eq!(beats(&capacity(&[])), expected);
    assert_eq!(beats(&capacity(&["-live"])), expected.replace("all workers", "live workers"));
    assert_eq!(capacity(&["-lost"]), "No workers found.\n");
    let one = capacity(&["-workers", "127.0.0.2"]);
    assert!(one.contains("for specified workers") && one.contains("Total Capacity: 1024.00MB"), "{one}");
    assert!(!one.contains("127.0.0.1 "), "{one}");
    cluster.finish().unwrap();
}

#[test]
fn the_mount_table_is_aligned_and_shows_what_was_mounted() {
    let _turn = turn();
    let page = "<title>Directory listing for /</title><body><ul></ul>";
    let server = Scripted::start(move |_| Answer::page(page)).unwrap();
    let cluster = DevCluster::start(Launch::small(GOOSEFS)).unwrap();
    let (root, web) = (cluster.ufs().display().to_string(), server.uri());
    let mount = ["fs", "mount", "--readonly", "--option", "goosefs.underfs.web.retries=1", "/web", &web];
    says(&cluster.goosefs(&mount), &[&format!("Mounted {web} at /web")]);
    complains(&cluster.goosefs(&mount), &["/web"]);
    let said = cluster.goosefs(&["fs", "mount"]);
    let lines = said.lines();
    assert_eq!((said.code, lines.len()), (Some(0), 2), "{said:?}");
    let width = root.len().max(web.len());
    let start = format!("{root:<width$}  on  /     (local, capacity=");
    assert!(lines[0].starts_with(&start), "{} does not begin with {start}", lines[0]);
    assert!(lines[0].ends_with(", not read-only, shared, properties={})"), "{}", lines[0]);
    assert_eq!(
        lines[1],
        format!(
            "{web:<width$}  on  /web  (web, capacity=-1B, used=-1B, read-only, not shared, \
             properties={{goosefs.underfs.web.retries=1}})"
        )
    );
    // What Fluid takes for the path.
    assert_eq!(lines[1].split_whitespace().nth(2), Some("/web"));
    assert_eq!(cluster.goosefs(&["fsadmin", "report", "ufs"]).lines().len(), 2);
    complains(&cluster.goosefs(&["fs", "mkdir", "/web/d"]), &["/web", "read-only"]);
    says(&cluster.goosefs(&["fs", "unmount", "/web"]), &["Unmounted /web"]);
    assert_eq!(cluster.goosefs(&["fs", "mount"]).lines().len(), 1);
    fails(&cluster.goosefs(&["fs", "ls", "/web"]), "Path \"/web\" does not exist.");
    cluster.finish().unwrap();
}
