//! `fsadmin backup` and `goosefs master --restore`.

use super::{GOOSEFS, complains, fails, says, turn};
use goosefs_harness::{MasterProcesses, Said, wait_for};
use std::path::{Path, PathBuf};

/// Checks the three lines and gives the file.
#[track_caller]
fn written(said: &Said, folder: &Path) -> PathBuf {
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    let lines = said.lines();
    assert_eq!(lines.len(), 3, "{said:?}");
    assert_eq!(lines[0], "Backup Host        : 127.0.0.1");
    // As Fluid cuts it out.
    let path = PathBuf::from(lines[1].strip_prefix("Backup URI         : ").unwrap());
    assert!(path.starts_with(folder) && path.is_file(), "{path:?}");
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(
        name.starts_with("goosefs-backup-2") && name.len() == "goosefs-backup-2026-11-24-1764021234567".len()
    );
    let count = lines[2].strip_prefix("Backup Entry Count : ").unwrap();
    assert!(count.parse::<u64>().unwrap() > 3, "{count}");
    path
}

fn names(masters: &MasterProcesses, ask: &[usize], path: &str) -> Vec<String> {
    let said = masters.ask(ask, &["fs", "ls", path]);
    assert_eq!(said.code, Some(0), "{said:?}");
    said.lines().iter().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect()
}

/// Three masters on empty directories, the first with the backup.
fn restored(file: &Path) -> MasterProcesses {
    let mut masters = MasterProcesses::new(GOOSEFS, 3).unwrap();
    for id in [1, 2] {
        masters.start(id, &[]).unwrap();
    }
    masters.start(0, &["--restore", file.to_str().unwrap()]).unwrap();
    masters.all_ready().unwrap();
    masters
}

#[test]
fn any_master_writes_a_backup_and_new_masters_begin_with_it() {
    let _turn = turn();
    let old = MasterProcesses::started(GOOSEFS, 3).unwrap();
    let folder = old.scratch().join("backups");
    for id in 0..3 {
        let made = format!("/made-{id}");
        says(&old.ask(&[id], &["fs", "mkdir", &made]), &[&format!("Successfully created directory {made}")]);
        // Everything that was acknowledged, though another master may have done that.
        let said = old.ask(&[(id + 1) % 3], &["fsadmin", "backup", folder.to_str().unwrap(), "--local"]);
        let file = written(&said, &folder);
        let new = restored(&file);
        let made = names(&new, &[1], "/");
        assert!(made.contains(&format!("/made-{id}")), "{made:?}");
        assert!(!made.contains(&format!("/made-{}", id + 1)), "{made:?}");
        says(&new.ask(&[2], &["fs", "mkdir", "/after"]), &["Successfully created directory /after"]);
    }
    // On the root storage, which is a folder here.
    let file = written(&old.goosefs(&["fsadmin", "backup", folder.to_str().unwrap()]), &folder);
    assert!(file.metadata().unwrap().len() > 100);
    complains(&old.goosefs(&["fsadmin", "backup", "backups"]), &["\"backups\"", "absolute path"]);
    fails(
        &old.goosefs(&["fsadmin", "-Dgoosefs.security.login.username=eve", "backup"]),
        "user eve may not change or back up the masters (user root may, and group supergroup)",
    );
}

#[test]
fn a_backup_comes_to_where_the_command_runs() {
    let _turn = turn();
    let old = MasterProcesses::started(GOOSEFS, 3).unwrap();
    says(&old.goosefs(&["fs", "mkdir", "/kept"]), &["Successfully created directory /kept"]);
    let file = old.scratch().join("here.backup");
    let path = file.to_str().unwrap();
    for id in 0..3 {
        let said = old.ask(&[id], &["fsadmin", "backup", "--to", path]);
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
        assert_eq!(said.lines()[0], format!("Backup URI         : {path}"));
        assert!(said.lines()[1].starts_with("Backup Entry Count : "), "{said:?}");
        assert_eq!(said.lines()[2], format!("Backup Length      : {}", file.metadata().unwrap().len()));
    }
    assert!(names(&restored(&file), &[1], "/").contains(&"/kept".to_owned()));
    // Nothing is left of it with the masters, nor half of one here.
    for id in 0..3 {
        let left = std::fs::read_dir(old.dir(id)).unwrap().flatten();
        assert!(
            left.map(|entry| entry.file_name()).all(|name| !name.to_string_lossy().starts_with("outgoing"))
        );
    }
    complains(&old.goosefs(&["fsadmin", "backup", "--to", "/not/there"]), &["/not/there"]);
    fails(
        &old.goosefs(&["fsadmin", "-Dgoosefs.security.login.username=eve", "backup", "--to", path]),
        "user eve may not change or back up the masters (user root may, and group supergroup)",
    );
}

#[test]
fn a_damaged_backup_is_named_and_nothing_is_restored_over_a_cluster() {
    let _turn = turn();
    let mut masters = MasterProcesses::started(GOOSEFS, 3).unwrap();
    let folder = masters.scratch().join("backups");
    let path = folder.to_str().unwrap().to_owned();
    let file = written(&masters.goosefs(&["fsadmin", "backup", &path, "--local"]), &folder);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let damaged = folder.join("damaged");
    std::fs::write(&damaged, bytes).unwrap();

    // A new cluster, from the damaged one.
    let mut new = MasterProcesses::new(GOOSEFS, 1).unwrap();
    new.start(0, &["--restore", damaged.to_str().unwrap()]).unwrap();
    let said = new.wait_end(0).unwrap();
    let line = said.stderr.lines().last().unwrap_or_default().to_owned();
    assert!(said.code == Some(1) && line.starts_with("goosefs master: backup "), "{said:?}");
    assert!(
        line.contains(damaged.to_str().unwrap()) && line.contains("does not match its checksum"),
        "{line}"
    );

    // The running one: over its directory, and over an empty directory while the others run.
    says(&masters.goosefs(&["fs", "mkdir", "/later"]), &["Successfully created directory /later"]);
    let order = ["--restore", file.to_str().unwrap()];
    for wiped in [false, true] {
        if wiped {
            masters.wipe(0).unwrap();
        } else {
            masters.kill(0).unwrap();
        }
        masters.start(0, &order).unwrap();
        let said = masters.wait_end(0).unwrap();
        let line = said.stderr.lines().last().unwrap_or_default().to_owned();
        assert!(said.code == Some(1) && line.contains("is not restored"), "{said:?}");
    }
    masters.start(0, &[]).unwrap();
    masters.ready(0).unwrap();
    assert!(names(&masters, &[0], "/").contains(&"/later".to_owned()));
    for id in [1, 2] {
        let mut other = MasterProcesses::new(GOOSEFS, 3).unwrap();
        other.start(id, &order).unwrap();
        let said = other.wait_end(id).unwrap();
        assert!(said.stderr.contains("restored by the master with --id 0"), "{said:?}");
    }
}

#[test]
fn the_variable_of_pods_restores_at_the_first_start_only() {
    let _turn = turn();
    let old = MasterProcesses::started(GOOSEFS, 1).unwrap();
    says(&old.goosefs(&["fs", "mkdir", "/old"]), &["Successfully created directory /old"]);
    let folder = old.scratch().join("backups");
    let file = written(&old.goosefs(&["fsadmin", "backup", folder.to_str().unwrap(), "--local"]), &folder);
    let mut new = MasterProcesses::new(GOOSEFS, 3).unwrap();
    new.wrap(&["env", &format!("JOURNAL_BACKUP={}", file.display())]);
    let start = |new: &mut MasterProcesses| {
        for id in 0..3 {
            new.start(id, &[]).unwrap();
        }
        new.all_ready().unwrap();
    };
    start(&mut new);
    assert!(names(&new, &[2], "/").contains(&"/old".to_owned()));
    says(&new.goosefs(&["fs", "mkdir", "/new"]), &["Successfully created directory /new"]);
    for id in 0..3 {
        new.kill(id).unwrap();
    }
    start(&mut new);
    let both = names(&new, &[1], "/");
    assert!(both.contains(&"/old".to_owned()) && both.contains(&"/new".to_owned()), "{both:?}");
    wait_for("three that vote, so that two of them are a majority", || new.voters(&[0, 1, 2]) == 3);
    // A wiped pod joins the others and restores nothing.
    new.kill(0).unwrap();
    new.wipe(0).unwrap();
    new.start(0, &[]).unwrap();
    wait_for("the wiped one to say so", || new.log(0).contains("nothing is restored"));
    new.ready(0).unwrap();
    assert!(names(&new, &[0], "/").contains(&"/new".to_owned()));
}
