//! Loads that masters carry out: `distributedLoad`, `load --submit`, `--progress`, `--stop`, and `job`.

use super::{GOOSEFS, complains, fails, says, turn};
use goosefs_harness::{DevCluster, Launch, MasterProcesses, Said};
use std::fs;

/// The number behind `before` in what was printed.
fn number(said: &Said, before: &str) -> String {
    let (_, rest) = said.stdout.split_once(before).unwrap_or_else(|| panic!("no \"{before}\": {said:?}"));
    rest.chars().take_while(char::is_ascii_digit).collect()
}

#[test]
fn a_tree_is_loaded_by_the_masters_and_what_is_missing_is_named() {
    let _turn = turn();
    let cluster = DevCluster::start(Launch { workers: 2, ..Launch::small(GOOSEFS) }).unwrap();
    let run = |args: &[&str]| cluster.goosefs(&[&["fs"], args].concat());
    fs::create_dir(cluster.ufs().join("doc")).unwrap();
    for name in ["a", "b", "gone"] {
        fs::write(cluster.ufs().join("doc").join(name), "0123456789").unwrap();
    }
    fails(&run(&["distributedLoad", "/nothing"]), "Path \"/nothing\" does not exist.");
    let said = run(&["distributedLoad", "/doc/a"]);
    let id = number(&said, "(job ");
    says(
        &said,
        &[
            "Allow up to 3000 active jobs",
            &format!("/doc/a loading (job {id}; it goes on if this command ends)"),
            "Completed count is 1,Failed count is 0.",
        ],
    );
    assert_eq!(run(&["ls", "/doc"]).code, Some(0));
    fs::remove_file(cluster.ufs().join("doc/gone")).unwrap();
    let said = run(&["distributedLoad", "--active-jobs", "2", "/doc"]);
    let lines = said.lines();
    assert_eq!((said.code, lines.len()), (Some(1), 5), "{said:?}");
    assert_eq!(lines[0], "Allow up to 2 active jobs");
    assert_eq!(
        lines[2..],
        [
            "/doc/gone: Path \"/doc/gone\" does not exist.",
            "Completed count is 2,Failed count is 1.",
            "1 of 3 files were not loaded"
        ]
    );
    let job = number(&said, "(job ");
    let said = cluster.goosefs(&["job", "ls"]);
    assert_eq!(said.lines()[..2], [format!("{job} Load FAILED"), format!("{id} Load COMPLETED")]);
    let said = cluster.goosefs(&["job", "stat", "-v", &job]);
    assert!(said.lines().contains(&"\t\t/doc/gone: Path \"/doc/gone\" does not exist."), "{said:?}");
    complains(&cluster.goosefs(&["job", "stat", "1"]), &["job 1 does not exist", "goosefs job ls"]);
    cluster.finish().unwrap();
}

#[test]
fn a_load_is_submitted_watched_and_stopped() {
    let _turn = turn();
    let cluster = DevCluster::start(Launch { workers: 1, ..Launch::small(GOOSEFS) }).unwrap();
    let run = |args: &[&str]| cluster.goosefs(&[&["fs", "load", "/doc"], args].concat());
    fs::create_dir(cluster.ufs().join("doc")).unwrap();
    for name in ["a", "b"] {
        fs::write(cluster.ufs().join("doc").join(name), [7; 6000]).unwrap();
    }
    fails(&run(&["--progress"]), "Load for path '/doc' cannot be found.");
    complains(&run(&["--submit", "--bandwidth", "fast"]), &["--bandwidth fast is not a size", "100MB"]);
    let said = run(&["--submit", "--bandwidth", "1"]);
    let id = number(&said, "JobId: ");
    says(&said, &[&format!("Load '/doc' is successfully submitted. JobId: {id}")]);
    says(
        &run(&["--submit", "--bandwidth", "1"]),
        &[&format!("Load already running for path '/doc'. JobId: {id}")],
    );
    let said = run(&["--progress"]);
    assert_eq!(
        said.lines()[..3],
        [
            "Progress for loading path '/doc':",
            "\tSettings:\tbandwidth: 1B/s\tverify: false",
            "\tJob State: RUNNING"
        ]
    );
    let json = run(&["--progress", "--format", "json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["jobState"], &json["path"]), (&"RUNNING".into(), &"/doc".into()));
    says(&run(&["--stop"]), &["Load '/doc' is successfully stopped."]);
    fails(
        &run(&["--stop"]),
        "Cannot find load job for path /doc, it might have already been stopped or finished",
    );
    assert_eq!(run(&["--progress"]).lines()[2], "\tJob State: STOPPED");
    says(&cluster.goosefs(&["job", "ls"]), &[&format!("{id} Load CANCELED")]);
    complains(&cluster.goosefs(&["job", "cancel", &id]), &["has ended"]);
    cluster.finish().unwrap();
}

#[test]
fn a_load_that_no_worker_takes_says_what_it_waits_for_and_names_the_files_in_the_end() {
    let _turn = turn();
    let masters = MasterProcesses::started(GOOSEFS, 1).unwrap();
    fs::write(masters.ufs().join("file"), [7; 6000]).unwrap();
    let said = masters.goosefs(&["fs", "distributedLoad", "/file"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains(": no worker is there: start one"), "{said:?}");
    assert!(said.stdout.contains("/file: ") && said.stdout.contains("Failed count is 1."), "{said:?}");
}
