//! Where everything of a dev cluster lies and listens, and the command line of each of its processes. Pure: made from
//! the flags alone, so a second start on the same directory gives the same cluster.

use crate::cli::DevArgs;
use anyhow::{Context, ensure};
use goosefs_core::config::value;
use goosefs_core::path::NsPath;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// Longest path of a Unix socket (`sun_path`, unix(7)), less some room.
const SOCKET_PATH_MAX: usize = 100;

/// Less is a number without its unit.
const SMALLEST_QUOTA: u64 = 1 << 20;

/// A dev cluster on paper.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) dir: PathBuf,
    pub(super) port_base: u16,
    pub(super) masters: Vec<Plan>,
    pub(super) workers: Vec<Plan>,
    pub(super) fuse: Option<Plan>,
    pub(super) mount_point: Option<PathBuf>,
    pub(super) mounts: Vec<MountPlan>,
    /// The root's storage when it is a folder of ours, to be made.
    pub(super) root_folder: Option<PathBuf>,
    /// Folders of sockets, to be made.
    pub(super) socket_folder: PathBuf,
}

/// One process on paper.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// `master-0`, `worker-1`, `fuse`: the name of its log and in messages.
    pub(super) name: String,
    /// What follows the binary's name.
    pub(super) args: Vec<String>,
    /// `host:port`, empty for FUSE.
    pub(super) rpc: String,
    pub(super) web: String,
}

/// One `--mount`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct MountPlan {
    pub(super) path: NsPath,
    pub(super) uri: String,
}

impl Layout {
    /// Plans the cluster that `args` describe; `define` are `-D`s for every process.
    pub(super) fn new(args: &DevArgs, define: &[String]) -> anyhow::Result<Layout> {
        goosefs_ufs::secret::check_command_line(define)?;
        let quota = value::size(&args.worker_quota).filter(|bytes| *bytes >= SMALLEST_QUOTA);
        ensure!(
            quota.is_some(),
            "--worker-quota {}: it takes a size such as 512MB or 2GB, 1MB at least",
            args.worker_quota
        );
        let dir = std::path::absolute(&args.dir).with_context(|| format!("--dir {}", args.dir.display()))?;
        let mut mounts =
            args.mount.iter().map(|text| MountPlan::parse(text)).collect::<anyhow::Result<Vec<_>>>()?;
        let root = mounts.iter().position(|mount| mount.path.is_root()).map(|at| mounts.remove(at).uri);
        let root_folder = root.is_none().then(|| dir.join("root"));
        let root = root.unwrap_or_else(|| dir.join("root").display().to_string());
        let mut layout = Layout {
            masters: Vec::new(),
            workers: Vec::new(),
            fuse: None,
            mount_point: None,
            mounts,
            root_folder,
            socket_folder: socket_folder(&dir),
            port_base: args.port_base,
            dir,
        };
        let masters = (0..args.masters)
            .map(|id| master_port(args.port_base, id))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let rpc: Vec<String> = masters.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let common = [
            format!("-Dgoosefs.home={}", layout.dir.display()),
            format!("-Dgoosefs.master.rpc.addresses={}", rpc.join(",")),
        ];
        let defined = define.iter().map(|definition| format!("-D{definition}"));
        let tail: Vec<String> = common.into_iter().chain(defined).collect();
        layout.plan_masters(&masters, &root, &tail);
        layout.plan_workers(args, &tail);
        layout.plan_fuse(args, &tail)?;
        Ok(layout)
    }

    fn plan_masters(&mut self, ports: &[u16], root: &str, tail: &[String]) {
        let raft: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{}", port + 2)).collect();
        for (id, port) in ports.iter().enumerate() {
            let mut args = vec!["master".to_owned(), "--id".to_owned(), id.to_string()];
            args.push(format!("-Dgoosefs.master.embedded.journal.addresses={}", raft.join(",")));
            args.push(format!(
                "-Dgoosefs.master.journal.folder={}",
                self.dir.join(format!("master-{id}")).display()
            ));
            args.push(format!("-Dgoosefs.master.web.port={}", port + 1));
            args.push(format!("-Dgoosefs.master.mount.table.root.ufs={root}"));
            args.extend_from_slice(tail);
            self.masters.push(Plan {
                name: format!("master-{id}"),
                args,
                rpc: format!("127.0.0.1:{port}"),
                web: format!("127.0.0.1:{}", port + 1),
            });
        }
    }

    fn plan_workers(&mut self, flags: &DevArgs, tail: &[String]) {
        let (rpc, web) = (flags.port_base + 3, flags.port_base + 4);
        for number in 1..=flags.workers {
            let host = format!("127.0.0.{number}");
            let folder = self.dir.join(format!("worker-{number}"));
            let mut args = vec!["worker".to_owned(), format!("-Dgoosefs.worker.hostname={host}")];
            args.push(format!("-Dgoosefs.worker.rpc.port={rpc}"));
            args.push(format!("-Dgoosefs.worker.web.port={web}"));
            args.push(format!("-Dgoosefs.worker.tieredstore.level0.dirs.path={}", folder.display()));
            args.push(format!("-Dgoosefs.worker.tieredstore.level0.dirs.quota={}", flags.worker_quota));
            let socket = self.socket_folder.join(format!("worker-{number}.sock"));
            args.push(format!("-Dgoosefs.worker.data.server.domain.socket.address={}", socket.display()));
            args.extend_from_slice(tail);
            let name = format!("worker-{number}");
            self.workers.push(Plan {
                name,
                args,
                rpc: format!("{host}:{rpc}"),
                web: format!("{host}:{web}"),
            });
        }
    }

    fn plan_fuse(&mut self, flags: &DevArgs, tail: &[String]) -> anyhow::Result<()> {
        if flags.no_fuse {
            return Ok(());
        }
        let mount_point = match &flags.mount_point {
            Some(path) => {
                std::path::absolute(path).with_context(|| format!("--mount-point {}", path.display()))?
            }
            None => self.dir.join("mnt"),
        };
        let mut args = vec!["fuse".to_owned(), mount_point.display().to_string()];
        args.extend_from_slice(tail);
        self.fuse = Some(Plan { name: "fuse".to_owned(), args, rpc: String::new(), web: String::new() });
        self.mount_point = Some(mount_point);
        Ok(())
    }
}

impl MountPlan {
    fn parse(text: &str) -> anyhow::Result<MountPlan> {
        let (path, uri) =
            text.split_once('=').with_context(|| format!("--mount {text}: it takes /path=URI"))?;
        let path = NsPath::parse(path).with_context(|| format!("--mount {text}"))?;
        goosefs_ufs::check_options(uri, &BTreeMap::new()).with_context(|| format!("--mount {text}"))?;
        Ok(MountPlan { path, uri: uri.to_owned() })
    }
}

fn master_port(base: u16, id: u32) -> anyhow::Result<u16> {
    u16::try_from(u32::from(base) + 10 * id)
        .ok()
        .filter(|port| *port < u16::MAX - 10)
        .with_context(|| format!("--port-base {base} leaves no ports for {} masters", id + 1))
}

/// In `dir`, or below /tmp by a name made from it when its path is too long for sockets.
fn socket_folder(dir: &Path) -> PathBuf {
    let usual = dir.join("sockets");
    if usual.as_os_str().len() + "/worker-200.sock".len() <= SOCKET_PATH_MAX {
        return usual;
    }
    let mut hasher = DefaultHasher::new();
    dir.hash(&mut hasher);
    std::env::temp_dir().join(format!("goosefs-dev-{:016x}", hasher.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn layout(line: &str) -> anyhow::Result<Layout> {
        let cli = Cli::try_parse_from(["goosefs", "dev"].into_iter().chain(line.split_whitespace())).unwrap();
        let Command::Dev(args) = cli.command else { panic!("not dev") };
        Layout::new(&args, &cli.define)
    }

    #[test]
    fn ports_are_as_documented() {
        let layout = layout("--dir /x --port-base 12000").unwrap();
        let rpc: Vec<&str> = layout.masters.iter().map(|plan| plan.rpc.as_str()).collect();
        assert_eq!(rpc, ["127.0.0.1:12000", "127.0.0.1:12010", "127.0.0.1:12020"]);
        assert_eq!(layout.masters[1].web, "127.0.0.1:12011");
        assert!(layout.masters[1].args.contains(
            &"-Dgoosefs.master.embedded.journal.addresses=127.0.0.1:12002,127.0.0.1:12012,127.0.0.1:12022".to_owned()
        ));
        assert_eq!(layout.workers[1].rpc, "127.0.0.2:12003");
        assert_eq!(layout.mount_point.unwrap(), Path::new("/x/mnt"));
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (line, word) in [
            ("--worker-quota 2X", "--worker-quota 2X: it takes a size"),
            ("--worker-quota 0", "it takes a size"),
            ("--mount nothing", "it takes /path=URI"),
            ("--mount x=http://127.0.0.1/", "not absolute"),
        ] {
            let error = format!("{:#}", layout(line).unwrap_err());
            assert!(error.contains(word), "{line}: {error}");
        }
    }

    #[test]
    fn properties_given_to_dev_reach_every_process_and_win() {
        let layout = layout("--dir /x -Dgoosefs.logs.level=debug").unwrap();
        for plan in layout.masters.iter().chain(&layout.workers).chain(&layout.fuse) {
            assert_eq!(plan.args.last().unwrap(), "-Dgoosefs.logs.level=debug", "{}", plan.name);
        }
    }

    #[test]
    fn sockets_stay_short_below_a_long_directory() {
        let long = format!("/{}", "x".repeat(200));
        assert!(socket_folder(Path::new(&long)).as_os_str().len() < SOCKET_PATH_MAX);
        assert_eq!(socket_folder(Path::new("/x")), Path::new("/x/sockets"));
    }
}
