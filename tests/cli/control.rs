//! The control key: who administers masters that have one shows that he has it, too.

use super::{GOOSEFS, complains, fails, says, turn};
use goosefs_harness::{MasterProcesses, wait_for};
use std::path::Path;

const REFUSED: &str = "to change or back up the masters takes the control key of the masters (run the command where the \
                       file of goosefs.security.control.key.file is: in Kubernetes in a pod of a master)";

fn key_file(path: &Path, letter: &str) -> String {
    std::fs::write(path, letter.repeat(64)).unwrap();
    format!("-Dgoosefs.security.control.key.file={}", path.display())
}

#[test]
fn who_administers_masters_shows_their_control_key_whatever_his_name_is() {
    let _turn = turn();
    let mut masters = MasterProcesses::new(GOOSEFS, 3).unwrap();
    let (path, other) = (masters.scratch().join("control.key"), masters.scratch().join("other.key"));
    let (with, with_other) = (key_file(&path, "a"), key_file(&other, "b"));
    for id in 0..3 {
        masters.start(id, &[&with]).unwrap();
    }
    masters.all_ready().unwrap();
    // Asked of any of them: a standby cannot hand a proof on, so the command goes to the leader itself.
    let all = [0, 1, 2];
    let file = masters.scratch().join("here.backup");
    let to = file.to_str().unwrap();
    for wanted in [1, 2, 0] {
        let address = masters.raft(wanted);
        let elect = ["journal", "quorum", "elect", "-address", &address];
        let said = masters.ask(&all, &[&["fsadmin", &with][..], &elect].concat());
        says(&said, &[&format!("Successfully elected {address} as the new leader")]);
        wait_for("it to lead", || masters.leader(&all) == Some(wanted));
    }
    let said = masters.ask(&all, &["fsadmin", &with, "backup", "--to", to]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    let said =
        masters.ask(&[1], &["fsadmin", &with, "backup", masters.scratch().to_str().unwrap(), "--local"]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");

    // Not by name alone, nor with another key; and without one everything else is as it was.
    fails(&masters.ask(&all, &["fsadmin", "backup", "--to", to]), REFUSED);
    fails(&masters.ask(&all, &["fsadmin", "journal", "checkpoint"]), REFUSED);
    let said = masters.ask(&all, &["fsadmin", &with_other, "backup", "--to", to]);
    complains(&said, &["control key is not that of this server", "control.key"]);
    let said = masters.ask(&all, &["fsadmin", &with_other, "journal", "checkpoint"]);
    complains(&said, &["control key is not that of this server", "control.key"]);
    says(&masters.ask(&all, &["fs", "mkdir", "/made"]), &["Successfully created directory /made"]);

    // Another key counts as soon as it is in the file.
    std::fs::copy(&other, &path).unwrap();
    let said = masters.ask(&all, &["fsadmin", &with_other, "backup", "--to", to]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
}

#[test]
fn a_master_without_the_file_that_it_is_told_of_does_not_start() {
    let _turn = turn();
    let mut masters = MasterProcesses::new(GOOSEFS, 1).unwrap();
    let path = masters.scratch().join("control.key");
    masters.start(0, &[&format!("-Dgoosefs.security.control.key.file={}", path.display())]).unwrap();
    wait_for("a word on what to do", || masters.log(0).contains("openssl rand -hex 32"));
    assert!(
        masters.log(0).contains("control.key")
            && masters.log(0).contains("goosefs.security.control.key.file")
    );
}
