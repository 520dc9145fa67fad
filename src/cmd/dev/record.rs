//! `DIR/dev.json`: what runs, for scripts.

use super::child::Child;
use serde::Serialize;
use std::io::{self, Write};
use std::path::Path;

#[derive(Serialize)]
struct Record<'a> {
    masters: Vec<Master<'a>>,
    workers: Vec<Worker<'a>>,
    fuse: Option<Fuse<'a>>,
}

#[derive(Serialize)]
struct Master<'a> {
    id: usize,
    #[serde(flatten)]
    process: Worker<'a>,
}

#[derive(Serialize)]
struct Worker<'a> {
    pid: u32,
    args: &'a [String],
    rpc: &'a str,
    web: &'a str,
}

#[derive(Serialize)]
struct Fuse<'a> {
    pid: u32,
    args: &'a [String],
    mount_point: &'a Path,
}

/// Writes the record, whole or not at all.
pub(super) fn write(
    dir: &Path,
    masters: &[Child],
    workers: &[Child],
    fuse: Option<(&Child, &Path)>,
) -> io::Result<()> {
    fn process(child: &Child) -> Worker<'_> {
        Worker { pid: child.pid, args: &child.plan.args, rpc: &child.plan.rpc, web: &child.plan.web }
    }
    let record = Record {
        masters: masters
            .iter()
            .enumerate()
            .map(|(id, child)| Master { id, process: process(child) })
            .collect(),
        workers: workers.iter().map(process).collect(),
        fuse: fuse.map(|(child, mount_point)| Fuse { pid: child.pid, args: &child.plan.args, mount_point }),
    };
    let (path, aside) = (dir.join("dev.json"), dir.join(".dev.json.new"));
    let mut file = std::fs::File::create(&aside)?;
    file.write_all(&serde_json::to_vec_pretty(&record)?)?;
    file.write_all(b"\n")?;
    std::fs::rename(aside, path)
}
