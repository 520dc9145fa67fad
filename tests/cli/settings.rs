//! Where properties come from and who wins; versions; logs that keep off standard output.

use super::{GOOSEFS, alone, complains, says, turn};
use goosefs_harness::{DevCluster, Launch};
use std::fs;
use std::path::Path;

const KEY: &str = "goosefs.worker.web.port";

fn file(folder: &Path, text: &str) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("goosefs-site.properties"), text).unwrap();
}

#[test]
fn properties_come_from_the_first_file_then_the_environment_then_the_command_line() {
    let (home, binary) = alone();
    let value = |binary: &goosefs_harness::Binary| binary.run(&["getConf", KEY]).unwrap().stdout;
    assert_eq!(value(&binary), "9204\n");
    file(&home.path().join(".goosefs"), &format!("# ours\n{KEY} = 1\n"));
    assert_eq!(value(&binary), "1\n");
    file(&home.path().join("h/conf"), &format!("{KEY}=2\n"));
    let binary = binary.with("GOOSEFS_HOME", home.path().join("h").display().to_string());
    assert_eq!(value(&binary), "2\n");
    file(&home.path().join("c"), &format!("{KEY}=3\n"));
    let binary = binary.with("GOOSEFS_CONF_DIR", home.path().join("c").display().to_string());
    assert_eq!(value(&binary), "3\n");
    let source = binary.run(&["getConf", "--source", KEY]).unwrap();
    assert_eq!(
        source.stdout,
        format!("SITE_PROPERTY ({}/c/goosefs-site.properties)\n", home.path().display())
    );
    let binary = binary.with("GOOSEFS_WORKER_WEB_PORT", "4");
    assert_eq!(value(&binary), "4\n");
    let define = format!("-D{KEY}=5");
    for args in [[&define, "getConf", KEY], ["getConf", &define, KEY], ["getConf", KEY, &define]] {
        says(&binary.run(&args).unwrap(), &["5"]);
    }
    says(&binary.run(&["getConf", "--source", KEY, &define]).unwrap(), &["SYSTEM_PROPERTY"]);
}

#[test]
fn values_are_given_in_units() {
    let (_home, binary) = alone();
    let size = "goosefs.user.block.size.bytes.default";
    says(&binary.run(&["getConf", "--unit", "KB", size]).unwrap(), &["65536"]);
    complains(&binary.run(&["getConf", "--unit", "ell", size]).unwrap(), &["--unit ell", "B, KB, MB"]);
    let all = binary.run(&["getConf"]).unwrap();
    assert!(all.lines().contains(&"goosefs.worker.web.port=9204"), "{all:?}");
}

#[test]
fn the_version_is_one_word() {
    let (_home, binary) = alone();
    says(&binary.run(&["version"]).unwrap(), &[env!("CARGO_PKG_VERSION")]);
    says(&binary.run(&["--version"]).unwrap(), &[&format!("goosefs {}", env!("CARGO_PKG_VERSION"))]);
}

#[test]
fn logs_keep_off_standard_output_and_an_old_file_costs_one_warning() {
    let _turn = turn();
    let cluster = DevCluster::start(Launch::small(GOOSEFS)).unwrap();
    let address = format!("-Dgoosefs.master.rpc.addresses={}", cluster.masters()[0]);
    let quiet = cluster.binary().run(&["fs", &address, "masterInfo"]).unwrap();
    assert_eq!((quiet.code, quiet.lines().len(), quiet.stderr.as_str()), (Some(0), 2, ""));
    // Before and after the command.
    for args in [[&address, "fs", "masterInfo"], ["fs", "masterInfo", &address]] {
        assert_eq!(cluster.binary().run(&args).unwrap(), quiet);
    }
    fs::write(cluster.ufs().join("f"), "").unwrap();
    let listed = cluster.binary().run(&["fs", &address, "ls", "/"]).unwrap();
    let loud = cluster.binary().run(&["-Dgoosefs.logs.level=trace", "fs", &address, "ls", "/"]).unwrap();
    assert_eq!((listed.lines().len(), &loud.stdout), (1, &listed.stdout));
    assert!(loud.stderr.contains("TRACE") || loud.stderr.contains("DEBUG"), "{loud:?}");

    let old = "goosefs.master.embedded.journal.election.timeout=20s\ngoosefs.zookeeper.enabled=false\n";
    file(&cluster.scratch().join("conf"), old);
    let conf = cluster.scratch().join("conf").display().to_string();
    let warned =
        cluster.binary().with("GOOSEFS_CONF_DIR", conf).run(&["fs", &address, "masterInfo"]).unwrap();
    assert_eq!((warned.code, &warned.stdout), (Some(0), &quiet.stdout));
    let lines: Vec<&str> = warned.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{warned:?}");
    assert!(lines[0].contains("WARN") && lines[0].contains("election.timeout"), "{}", lines[0]);
    cluster.finish().unwrap();
}
