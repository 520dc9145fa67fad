//! `fsadmin journal`: who votes, who leads, growing and shrinking, checkpoints.

use super::{GOOSEFS, complains, fails, says, turn};
use goosefs_harness::{MasterProcesses, Said, wait_for};

const INFO: [&str; 6] = ["fsadmin", "journal", "quorum", "info", "-domain", "MASTER"];

/// What `info` prints of these masters, in the order of their ids.
fn table(masters: &MasterProcesses, leader: Option<usize>, states: &[(usize, &str)]) -> Vec<String> {
    let led = leader;
    let leader = leader.map_or("UNKNOWN".to_owned(), |id| masters.raft(id));
    let mut lines = vec![
        "Journal domain\t: MASTER".to_owned(),
        format!("Quorum size\t: {}", states.len()),
        format!("Quorum leader\t: {leader}"),
        String::new(),
        "STATE       | PRIORITY | SERVER ADDRESS".to_owned(),
    ];
    lines.extend(states.iter().map(|(id, state)| format!("{state:<11} | 0        | {}", masters.raft(*id))));
    lines.extend([String::new(), "ROLE        | SERVER ADDRESS".to_owned()]);
    lines.extend(states.iter().map(|(id, state)| {
        let role = match (led, *state) {
            (Some(leader), _) if leader == *id => "LEADER",
            (Some(_), "AVAILABLE") => "FOLLOWER",
            _ => "UNKNOWN",
        };
        format!("{role:<11} | {}", masters.raft(*id))
    }));
    lines
}

/// Asks these masters until the table is this one, which takes a moment after a change.
#[track_caller]
fn shows(masters: &MasterProcesses, ask: &[usize], states: &[(usize, &str)]) {
    let mut last = Vec::new();
    let all: Vec<usize> = states.iter().map(|(id, _)| *id).collect();
    wait_for("the quorum to be shown", || {
        let leader = masters.leader(ask).filter(|leader| all.contains(leader));
        let said = masters.ask(ask, &INFO);
        last = said.lines().iter().map(|line| (*line).to_owned()).collect();
        said.code == Some(0) && said.stderr.is_empty() && last == table(masters, leader, states)
    });
}

fn change(masters: &MasterProcesses, ask: &[usize], what: &str, id: usize) -> Said {
    masters
        .ask(ask, &["fsadmin", "journal", "quorum", what, "-domain", "MASTER", "-address", &masters.raft(id)])
}

#[test]
fn any_master_shows_the_quorum_and_hands_the_lead_over() {
    let _turn = turn();
    let mut masters = MasterProcesses::started(GOOSEFS, 3).unwrap();
    let up = [(0, "AVAILABLE"), (1, "AVAILABLE"), (2, "AVAILABLE")];
    for id in 0..3 {
        shows(&masters, &[id], &up);
    }
    says(
        &masters.ask(&[1], &INFO[..4]),
        &table(&masters, masters.leader(&[1]), &up).iter().map(String::as_str).collect::<Vec<_>>(),
    );
    for wanted in [1, 2, 0, 0] {
        let address = masters.raft(wanted);
        let said = masters.ask(&[1], &["fsadmin", "journal", "quorum", "elect", "-address", &address]);
        says(&said, &[&format!("Successfully elected {address} as the new leader")]);
        assert_eq!(masters.leader(&[2]), Some(wanted));
    }
    // One dies; without two nobody leads, and the table is still to be had.
    masters.kill(2).unwrap();
    shows(&masters, &[1], &[(0, "AVAILABLE"), (1, "AVAILABLE"), (2, "UNAVAILABLE")]);
    let gone = masters.raft(2);
    let said = masters.ask(&[1], &["fsadmin", "journal", "quorum", "elect", "-address", &gone]);
    fails(&said, &format!("Failed to elect {gone} as the new leader: {gone} does not answer"));
    masters.kill(0).unwrap();
    let alone = table(&masters, None, &[(0, "UNAVAILABLE"), (1, "AVAILABLE"), (2, "UNAVAILABLE")]);
    wait_for("the last master to miss the others", || masters.ask(&[1], &INFO).lines() == alone);
}

#[test]
fn one_master_grows_to_three_and_shrinks_back_by_commands() {
    let _turn = turn();
    let mut masters = MasterProcesses::new(GOOSEFS, 3).unwrap();
    masters.start_listing(0, &[0], &[]).unwrap();
    masters.ready(0).unwrap();
    says(&masters.ask(&[0], &["fs", "mkdir", "/kept"]), &["Successfully created directory /kept"]);
    for id in [1, 2] {
        complains(&change(&masters, &[0], "add", id), &[&masters.raft(id), "no master answers"]);
        masters.start(id, &[]).unwrap();
        wait_for("a word on what to do", || masters.log(id).contains("goosefs fsadmin journal quorum add"));
        says(
            &change(&masters, &[0], "add", id),
            &[&format!("Added server at: {} to quorum.", masters.raft(id))],
        );
        masters.ready(id).unwrap();
    }
    let up = [(0, "AVAILABLE"), (1, "AVAILABLE"), (2, "AVAILABLE")];
    shows(&masters, &[2], &up);
    // Any one may die now, the first as well, and it comes back with the list that names no other.
    masters.kill(0).unwrap();
    says(&masters.ask(&[1, 2], &["fs", "mkdir", "/more"]), &["Successfully created directory /more"]);
    masters.start_listing(0, &[0], &[]).unwrap();
    masters.ready(0).unwrap();
    shows(&masters, &[0], &up);
    for id in [0, 1] {
        says(
            &change(&masters, &[2], "remove", id),
            &[&format!("Removed server at: {} from quorum.", masters.raft(id))],
        );
        wait_for("the master to know it", || masters.log(id).contains("was taken out of the quorum"));
        masters.stop(id).unwrap();
    }
    shows(&masters, &[2], &[(2, "AVAILABLE")]);
    complains(&change(&masters, &[2], "remove", 2), &[&masters.raft(2), "last master"]);
    let said = masters.ask(&[2], &["fs", "ls", "/"]);
    assert!(said.stdout.contains("/kept") && said.stdout.contains("/more"), "{said:?}");
}

#[test]
fn what_cannot_be_done_to_the_quorum_is_told_in_one_line() {
    let _turn = turn();
    let masters = MasterProcesses::started(GOOSEFS, 1).unwrap();
    let run = |args: &[&str]| masters.goosefs(&[&["fsadmin", "journal"], args].concat());
    let host = masters.rpc(0).split(':').next().unwrap().to_owned();
    says(&run(&["checkpoint"]), &[&format!("Successfully took a checkpoint on master {host}")]);
    says(&run(&["checkpoint"]), &[&format!("Successfully took a checkpoint on master {host}")]);
    let (raft, rpc) = (masters.raft(0), masters.rpc(0));
    fails(
        &run(&["quorum", "info", "-domain", "JOB_MASTER"]),
        "-domain JOB_MASTER: jobs live in the masters here; use -domain MASTER",
    );
    fails(
        &run(&["quorum", "remove", "-domain", "MASTER", "-address", "nowhere:1"]),
        &format!("nowhere:1 is not in the quorum (the quorum is {raft})"),
    );
    fails(
        &run(&["quorum", "elect", "-address", &rpc]),
        &format!(
            "Failed to elect {rpc} as the new leader: {rpc} is the RPC address of a master (its address in the quorum \
             is {raft})"
        ),
    );
    fails(&run(&["quorum", "add", "-address", "nowhere"]), "\"nowhere\" is not host:port");
    says(
        &run(&["quorum", "elect", "-address", &raft]),
        &[&format!("Successfully elected {raft} as the new leader")],
    );
    let other = ["fsadmin", "-Dgoosefs.security.login.username=eve", "journal", "checkpoint"];
    fails(
        &masters.goosefs(&other),
        "user eve may not change or back up the masters (user root may, and group supergroup)",
    );
    for args in
        [&["fsadmin", "journal"][..], &["fsadmin", "journal", "quorum", "elect"], &["fsadmin", "backup"]]
    {
        let said = masters.goosefs(&[args, &["--help"]].concat());
        assert!(said.code == Some(0) && said.stdout.contains("Usage: goosefs fsadmin"), "{said:?}");
    }
}
