//! Keeps the rooms: who may import whom, what a file may be called, where `unsafe` may stand.

// In the suite's own functions, too, a failure is a failed test.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Which of our crates each of our crates may depend on. The root knows all.
const CRATES: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("ufs", &["core"]),
    ("master", &["core", "ufs"]),
    ("worker", &["core", "ufs"]),
    ("client", &["core"]),
    ("fuse", &["client", "core"]),
    ("web", &["client", "core"]),
    ("k8s", &["core"]),
];

/// Rooms of core, in groups: each may import only from groups before its own (and `error` where it says so).
const CORE: &[(&str, &[&str])] = &[
    ("id", &[]),
    ("path", &["error"]),
    ("clock", &[]),
    ("checksum", &[]),
    ("mountinfo", &[]),
    ("error", &["id", "path", "clock", "checksum"]),
    ("config", &["id", "path", "clock", "checksum", "error"]),
    ("proto", &["id", "path", "clock", "checksum", "error"]),
    ("task", &["id", "path", "clock", "checksum", "error"]),
    ("metrics", &["id", "path", "clock", "checksum", "error"]),
    ("telemetry", &["id", "path", "clock", "checksum", "error"]),
    ("ring", &["id"]),
    ("rpc", &["id", "path", "clock", "checksum", "error", "config", "proto", "task", "metrics"]),
    ("raft", &["id", "path", "clock", "checksum", "error", "config", "proto", "task", "metrics", "rpc"]),
    ("block", &["id", "path", "clock", "checksum", "error"]),
];

/// Words that name a drawer, not a room.
const DRAWERS: &[&str] = &["util", "utils", "common", "helper", "helpers", "manager", "misc"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(!files.is_empty(), "no Rust files below {}", folder.display());
    files
}

/// Code without comments and without the tests at the end of a file, which may import what they like.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .fold(String::new(), |all, line| all + line + "\n")
}

#[test]
fn crates_import_only_what_the_design_allows() {
    for (name, allowed) in CRATES {
        let manifest = fs::read_to_string(root().join("src").join(name).join("Cargo.toml")).unwrap();
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap();
        let dependencies = dependencies.split("\n[").next().unwrap();
        for line in dependencies.lines() {
            let Some(ours) = line.strip_prefix("goosefs-") else { continue };
            let ours = ours.split(['.', ' ']).next().unwrap();
            assert!(allowed.contains(&ours), "src/{name} must not depend on src/{ours}");
        }
    }
}

#[test]
fn rooms_of_core_import_only_those_before_them() {
    let rooms: BTreeMap<&str, &[&str]> = CORE.iter().copied().collect();
    for (room, allowed) in CORE {
        let folder = root().join("src/core").join(room);
        let file = root().join("src/core").join(format!("{room}.rs"));
        let files = if folder.is_dir() { rust_files(&folder) } else { vec![file] };
        for path in files
            .iter()
            .filter(|path| !path.ends_with("tests.rs") && !path.to_string_lossy().contains("/tests/"))
        {
            for (number, line) in code(path).lines().enumerate() {
                for part in line.split("crate::").skip(1) {
                    let other = part.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap();
                    let fine = other == *room || !rooms.contains_key(other) || allowed.contains(&other);
                    assert!(
                        fine,
                        "{}: line {} of its code imports core::{other}",
                        path.display(),
                        number + 1
                    );
                }
            }
        }
    }
}

#[test]
fn no_file_is_a_drawer() {
    for path in rust_files(&root().join("src")).into_iter().chain(rust_files(&root().join("tests"))) {
        for part in path.strip_prefix(root()).unwrap().iter() {
            let stem = Path::new(part).file_stem().unwrap().to_str().unwrap();
            assert!(!DRAWERS.contains(&stem), "{} is named after a drawer", path.display());
        }
    }
}

#[test]
fn every_room_says_what_it_is() {
    for path in rust_files(&root().join("src")).into_iter().chain(rust_files(&root().join("tests"))) {
        if path.file_name().is_some_and(|name| name == "tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//!"), "{} does not begin with what it owns", path.display());
    }
}

#[test]
fn nobody_prints_to_standard_output_but_commands() {
    for path in rust_files(&root().join("src")) {
        if path.starts_with(root().join("src/cmd")) || path.to_string_lossy().contains("/tests/") {
            continue;
        }
        let of_tests = path.ends_with("tests.rs") || path.ends_with("bench.rs");
        let talks_to_cargo = path.ends_with("build.rs");
        if of_tests || talks_to_cargo {
            continue;
        }
        let code = code(&path);
        let prints = code.lines().any(|line| line.contains("println!(") && !line.contains("eprintln!("));
        assert!(!prints, "{} prints", path.display());
        assert!(!code.contains("dbg!("), "{} prints", path.display());
    }
}
