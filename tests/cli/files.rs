//! Files: `ls`, `stat`, `cat`, `mkdir`, `rm`, `mv`, the copies, `load`, `free` and `location`.

use super::{GOOSEFS, complains, fails, me, says, turn};
use goosefs_harness::{DevCluster, Launch, pattern, undated};
use std::fs;

/// A line of `ls` as GooseFS formats it.
fn row(mode: &str, size: &str, state: &str, cached: &str, path: &str) -> String {
    let (owner, group) = me();
    format!(
        "{mode:<12}{owner:<15}{group:<15}{size:>15}{state:>16}{:>24}{cached:>5} {path:<5}",
        "MM-dd-yyyy HH:mm:ss:SSS"
    )
    .trim_end()
    .to_owned()
}

fn listed(cluster: &DevCluster, args: &[&str]) -> Vec<String> {
    let said = cluster.goosefs(&[&["fs", "ls"], args].concat());
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    undated(&said.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn a_life_of_a_file() {
    let _turn = turn();
    let cluster = DevCluster::start(Launch { workers: 2, ..Launch::small(GOOSEFS) }).unwrap();
    let here = cluster.scratch().display().to_string();
    let run = |args: &[&str]| cluster.goosefs(&[&["fs"], args].concat());

    says(
        &run(&["mkdir", "/a/b", "/c"]),
        &["Successfully created directory /a/b", "Successfully created directory /c"],
    );
    complains(&run(&["mkdir", "/c"]), &["/c", "exists"]);
    fs::write(cluster.scratch().join("h.txt"), "hello\n").unwrap();
    says(&run(&["copyFromLocal", "h.txt", "/a/"]), &[&format!("Copied file://{here}/h.txt to /a/h.txt")]);
    fails(&run(&["copyFromLocal", "h.txt", "/a/"]), "/a/h.txt already exists");
    assert_eq!(
        listed(&cluster, &["/a"]),
        [
            row("drwxr-xr-x", "0", "NOT_PERSISTED", "DIR", "/a/b"),
            row("-rw-r--r--", "6", "PERSISTED", "100%", "/a/h.txt"),
        ]
    );
    assert_eq!(run(&["cat", "/a/h.txt"]).stdout, "hello\n");
    assert_eq!(fs::read(cluster.ufs().join("a/h.txt")).unwrap(), b"hello\n");

    // Into a directory that the storage has not seen yet.
    says(&run(&["mv", "/a/h.txt", "/a/b/h.txt"]), &["Renamed /a/h.txt to /a/b/h.txt"]);
    assert_eq!(fs::read(cluster.ufs().join("a/b/h.txt")).unwrap(), b"hello\n");
    assert_eq!(listed(&cluster, &["/a"]), [row("drwxr-xr-x", "1", "PERSISTED", "DIR", "/a/b")]);
    complains(&run(&["mv", "/a/b/h.txt", "/c"]), &["/c", "exists"]);
    fails(&run(&["mv", "/a/b/h.txt", "/nowhere/h.txt"]), "Path \"/nowhere\" does not exist.");

    says(&run(&["load", "/a"]), &["/a/b/h.txt already in GooseFS fully"]);
    says(&run(&["free", "/a"]), &["/a was successfully freed from GooseFS space."]);
    assert_eq!(listed(&cluster, &["/a/b"]), [row("-rw-r--r--", "6", "PERSISTED", "0%", "/a/b/h.txt")]);
    let nowhere = run(&["location", "/a/b/h.txt"]);
    assert_eq!(nowhere.lines().len(), 1, "{nowhere:?}");
    says(&run(&["load", "/a"]), &["/a/b/h.txt loaded"]);
    assert_eq!(listed(&cluster, &["/a/b"]), [row("-rw-r--r--", "6", "PERSISTED", "100%", "/a/b/h.txt")]);
    let location = run(&["location", "/a/b/h.txt"]);
    let (first, hosts) = location.stdout.split_once('\n').unwrap();
    assert!(first.starts_with("/a/b/h.txt with file id ") && first.ends_with(" is on nodes: "), "{first}");
    assert!(["127.0.0.1\n", "127.0.0.2\n"].contains(&hosts), "{hosts}");

    says(
        &run(&["copyToLocal", "/a/b/h.txt", "back"]),
        &[&format!("Copied /a/b/h.txt to file://{here}/back")],
    );
    assert_eq!(fs::read(cluster.scratch().join("back")).unwrap(), b"hello\n");
    fails(&run(&["copyToLocal", "/a/b/h.txt", "back"]), &format!("{here}/back already exists"));
    says(&run(&["copyToLocal", "/a", "tree"]), &[&format!("Copied /a to file://{here}/tree")]);
    assert_eq!(fs::read(cluster.scratch().join("tree/b/h.txt")).unwrap(), b"hello\n");
    says(&run(&["copyFromLocal", "tree", "/again"]), &[&format!("Copied file://{here}/tree to /again")]);
    assert_eq!(run(&["cat", "/again/b/h.txt"]).stdout, "hello\n");

    fails(&run(&["rm", "/a"]), "/a is a directory, to be removed with -R");
    says(&run(&["rm", "-R", "/a"]), &["/a has been removed"]);
    assert!(!cluster.ufs().join("a").exists());
    says(&run(&["rm", "/again/b/h.txt"]), &["/again/b/h.txt has been removed"]);
    cluster.finish().unwrap();
}

#[test]
fn what_is_not_there_is_said_on_standard_output() {
    let _turn = turn();
    let cluster = DevCluster::start(Launch::small(GOOSEFS)).unwrap();
    fs::write(cluster.scratch().join("l"), "x").unwrap();
    let commands: [&[&str]; 11] = [
        &["ls", "/x"],
        &["ls", "-d", "/x"],
        &["ls", "-R", "/x"],
        &["stat", "/x"],
        &["cat", "/x"],
        &["rm", "/x"],
        &["mv", "/x", "/y"],
        &["load", "/x"],
        &["free", "/x"],
        &["location", "/x"],
        &["copyToLocal", "/x", "nothing"],
    ];
    for command in commands {
        fails(&cluster.goosefs(&[&["fs"], command].concat()), "Path \"/x\" does not exist.");
    }
    assert!(!cluster.scratch().join("nothing").exists());
    fails(
        &cluster.goosefs(&["fs", "copyFromLocal", "/nowhere/x", "/y"]),
        "Path \"/nowhere/x\" does not exist.",
    );
    complains(&cluster.goosefs(&["fs", "unmount", "/x"]), &["/x"]);
    says(&cluster.goosefs(&["fs", "ls", "/"]), &[]);
    cluster.finish().unwrap();
}

#[test]
fn listings_are_sorted_and_sized_as_asked() {
    let _turn = turn();
    let cluster = DevCluster::start(Launch::small(GOOSEFS)).unwrap();
    fs::create_dir(cluster.ufs().join("d")).unwrap();
    fs::write(cluster.ufs().join("d/large"), pattern(1, 10_240)).unwrap();
    fs::write(cluster.ufs().join("d/small"), "1").unwrap();
    let row = |mode, size, cached, path| row(mode, size, "PERSISTED", cached, path);
    let (large, small) =
        (row("-rw-r--r--", "10240", "0%", "/d/large"), row("-rw-r--r--", "1", "0%", "/d/small"));
    assert_eq!(listed(&cluster, &["/d"]), [large.clone(), small.clone()]);
    assert_eq!(listed(&cluster, &["-r", "/d"]), [small.clone(), large.clone()]);
    assert_eq!(listed(&cluster, &["--sort=size", "/d"]), [small.clone(), large.clone()]);
    assert_eq!(listed(&cluster, &["-R", "/"])[1..], [large, small.clone()]);
    assert_eq!(
        listed(&cluster, &["-h", "/d"]),
        [row("-rw-r--r--", "10.00KB", "0%", "/d/large"), row("-rw-r--r--", "1B", "0%", "/d/small")]
    );
    assert_eq!(listed(&cluster, &["-d", "/d"]), [row("drwxr-xr-x", "2", "DIR", "/d")]);
    assert_eq!(listed(&cluster, &["/d/small"]), [small]);
    complains(
        &cluster.goosefs(&["fs", "ls", "--sort=colour", "/d"]),
        &["--sort=colour", "name, path or size"],
    );
    cluster.finish().unwrap();
}

#[test]
fn stat_tells_all_of_a_file_and_its_blocks() {
    let _turn = turn();
    let cluster = DevCluster::start(Launch::small(GOOSEFS)).unwrap();
    let run = |args: &[&str]| cluster.goosefs(&[&["fs"], args].concat());
    fs::write(cluster.scratch().join("f"), pattern(3, 2_500_000)).unwrap();
    let size = "-Dgoosefs.user.block.size.bytes.default=1MB";
    assert_eq!(run(&["copyFromLocal", size, "f", "/f"]).code, Some(0));
    let said = run(&["stat", "/f"]);
    let lines = said.lines();
    assert_eq!(lines[0], "/f is a file path.");
    assert!(
        lines[1].starts_with("URIStatus{info=FileInfo{fileId=") && lines[1].ends_with("}}"),
        "{}",
        lines[1]
    );
    let mut rest = lines[1];
    let (owner, group) = me();
    for field in [
        "name=f",
        "path=/f",
        &format!("ufsPath={}", cluster.ufs().join("f").display()),
        "length=2500000",
        "blockSizeBytes=1048576",
        "creationTimeMs=1",
        "completed=true",
        "folder=false",
        "pinned=false",
        "persisted=true",
        "inGooseFSPercentage=100",
        &format!("owner={owner}"),
        &format!("group={group}"),
        "mode=420",
        "persistenceState=PERSISTED",
        "mountPoint=false",
        "fileBlockInfos=[FileBlockInfo{blockInfo=BlockInfo{id=",
        "mountId=1",
        "ufsFingerprint=length=2500000 mtime=",
    ] {
        let field = format!(", {field}");
        let at = rest.find(&field).unwrap_or_else(|| panic!("\"{field}\" is missing in order: {}", lines[1]));
        rest = &rest[at + field.len()..];
    }
    assert_eq!(lines[2], "Containing the following blocks: ");
    let lengths: Vec<&str> = lines[3..].iter().map(|line| line.split("length=").nth(1).unwrap()).collect();
    assert_eq!(lengths.len(), 3, "{said:?}");
    assert!(lengths[0].starts_with("1048576,") && lengths[2].starts_with("402848,"), "{lengths:?}");

    says(
        &run(&["stat", "-f", "%N is %z of %u:%g in %b", "/f"]),
        &[&format!("f is 2500000 of {owner}:{group} in 3")],
    );
    fs::write(cluster.scratch().join("empty"), "").unwrap();
    assert_eq!(run(&["copyFromLocal", "empty", "/empty"]).code, Some(0));
    assert_eq!(run(&["stat", "/empty"]).lines()[2], "This file does not contain any blocks.");
    assert_eq!(run(&["mkdir", "/d"]).code, Some(0));
    let directory = run(&["stat", "/d"]);
    assert_eq!((directory.lines()[0], directory.lines().len()), ("/d is a directory path.", 2));
    cluster.finish().unwrap();
}

#[test]
fn what_cannot_be_done_to_one_path_is_done_to_the_others() {
    let _turn = turn();
    let cluster = DevCluster::start(Launch::small(GOOSEFS)).unwrap();
    let run = |args: &[&str]| cluster.goosefs(&[&["fs"], args].concat());
    assert_eq!(run(&["mkdir", "/x", "/y"]).code, Some(0));
    let said = run(&["rm", "-R", "/nope", "/x", "/neither", "/y"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(
        said.lines(),
        [
            "/x has been removed",
            "/y has been removed",
            "Path \"/nope\" does not exist.",
            "Path \"/neither\" does not exist.",
            "2 of 4 paths could not be removed",
        ]
    );
    says(&run(&["ls", "/"]), &[]);

    // A directory that cannot be copied whole is not begun.
    let folder = cluster.scratch().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a"), "a").unwrap();
    std::os::unix::fs::symlink("nowhere", folder.join("dangling")).unwrap();
    complains(&run(&["copyFromLocal", "folder", "/copy"]), &["folder/dangling", "leads nowhere"]);
    fails(&run(&["ls", "/copy"]), "Path \"/copy\" does not exist.");
    fs::remove_file(folder.join("dangling")).unwrap();
    assert_eq!(run(&["copyFromLocal", "folder", "/copy"]).code, Some(0));
    assert_eq!(run(&["cat", "/copy/a"]).stdout, "a");
    assert_eq!(listed(&cluster, &["-p", "/copy"]), Vec::<String>::new(), "nothing is pinned");

    let other = cluster.scratch().join("other");
    fs::create_dir(&other).unwrap();
    let other = other.display().to_string();
    complains(&run(&["mount", "--option", "foo=bar", "/m", &other]), &["\"foo\"", &other]);
    complains(
        &run(&["mount", "--option", "foo=bar", "/m", "http://127.0.0.1:1/"]),
        &["\"foo\"", "allowed are"],
    );
    cluster.finish().unwrap();
}

#[test]
fn what_only_the_cache_has_is_kept_until_it_is_persisted_or_given_up() {
    let _turn = turn();
    let cluster = DevCluster::start(Launch::small(GOOSEFS)).unwrap();
    let run = |args: &[&str]| cluster.goosefs(&[&["fs"], args].concat());
    let storage = tempfile::tempdir().unwrap();
    let uri = storage.path().display().to_string();
    let cached = "-Dgoosefs.user.file.writetype.default=MUST_CACHE";
    fs::write(cluster.scratch().join("h"), "hello\n").unwrap();
    says(&run(&["mount", "/l", &uri]), &[&format!("Mounted {uri} at /l")]);
    assert_eq!(run(&["copyFromLocal", cached, "h", "/l/h"]).code, Some(0));

    let refused = complains(&run(&["unmount", "/l"]), &["1 file that only the cache has", "/l/h"]);
    assert!(refused.contains("goosefs fs persist /l") && refused.contains("unmount --force /l"), "{refused}");
    fails(
        &run(&["free", "/l"]),
        "/l was freed but for 1 file that only the cache has, /l/h first (goosefs fs persist /l)",
    );
    assert_eq!(run(&["cat", "/l/h"]).stdout, "hello\n");

    says(&run(&["persist", "/l"]), &["persisted file /l/h with size 6"]);
    assert_eq!(fs::read(storage.path().join("h")).unwrap(), b"hello\n");
    says(&run(&["persist", "/l/h"]), &["/l/h is already persisted"]);
    fails(&run(&["persist", "/l/x"]), "Path \"/l/x\" does not exist.");
    says(&run(&["free", "/l"]), &["/l was successfully freed from GooseFS space."]);
    assert_eq!(run(&["copyFromLocal", cached, "h", "/l/i"]).code, Some(0));
    says(&run(&["unmount", "--force", "/l"]), &["Unmounted /l"]);
    cluster.finish().unwrap();
}
