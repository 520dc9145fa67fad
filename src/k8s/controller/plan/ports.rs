//! Ports of a runtime's parts: fixed ones where pods have a network of their own; on the network of nodes a row of ports
//! that no other runtime has, or those that the user names.

use crate::crd::{Component, GooseFSRuntime, NetworkMode};
use std::collections::BTreeSet;

/// The first port that runtimes take.
const FIRST: i32 = 26_000;
/// A row of ports is reserved for each runtime on the network of nodes.
const ROW: i32 = 10;
/// No row begins behind this.
const LAST: i32 = 31_990;

/// The ports of one runtime.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ports {
    /// Of masters for clients.
    pub(crate) master_rpc: u16,
    /// Of masters for probes and metrics.
    pub(crate) master_web: u16,
    /// Of masters for one another.
    pub(crate) master_raft: u16,
    /// Of workers for clients.
    pub(crate) worker_rpc: u16,
    /// Of workers for probes and metrics.
    pub(crate) worker_web: u16,
    /// Of FUSE pods for probes and metrics.
    pub(crate) fuse_web: u16,
}

impl Default for Ports {
    /// In pods with a network of their own.
    fn default() -> Ports {
        Ports::row(26_000)
    }
}

impl Ports {
    fn row(first: u16) -> Ports {
        Ports {
            master_rpc: first,
            master_web: first + 1,
            master_raft: first + 2,
            worker_rpc: first + 3,
            worker_web: first + 4,
            fuse_web: first + 5,
        }
    }

    /// Those that a runtime has.
    pub(crate) fn of(runtime: &GooseFSRuntime) -> Ports {
        let first = runtime.status.as_ref().and_then(|status| status.first_port);
        match first.filter(|_| on_nodes(runtime)) {
            Some(first) => Ports::on_nodes(first, runtime),
            None => Ports::default(),
        }
    }

    /// Those of a runtime on the network of nodes whose row begins with `first`; what the user says wins.
    pub(crate) fn on_nodes(first: i32, runtime: &GooseFSRuntime) -> Ports {
        let row = Ports::row(u16::try_from(first).unwrap_or(26_000));
        let said = |part: &Option<Component>, name: &str, row: u16| {
            let port = part.as_ref().and_then(|part| part.ports.get(name));
            port.and_then(|port| u16::try_from(*port).ok()).unwrap_or(row)
        };
        let spec = &runtime.spec;
        Ports {
            master_rpc: said(&spec.master, "rpc", row.master_rpc),
            master_web: said(&spec.master, "web", row.master_web),
            master_raft: said(&spec.master, "embedded", row.master_raft),
            worker_rpc: said(&spec.worker, "rpc", row.worker_rpc),
            worker_web: said(&spec.worker, "web", row.worker_web),
            fuse_web: row.fuse_web,
        }
    }
}

/// Whether pods share the network of their nodes.
pub(crate) fn on_nodes(runtime: &GooseFSRuntime) -> bool {
    runtime.spec.network_mode == NetworkMode::HostNetwork
}

/// The first port of a row that nobody has; none when all are taken.
pub(crate) fn free_row(taken: &BTreeSet<i32>) -> Option<i32> {
    (FIRST..=LAST).step_by(usize::try_from(ROW).unwrap_or(1)).find(|first| !taken.contains(first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_do_not_overlap_and_what_the_user_says_wins() {
        assert_eq!(free_row(&BTreeSet::new()), Some(26_000));
        assert_eq!(free_row(&BTreeSet::from([26_000, 26_020])), Some(26_010));
        assert_eq!(free_row(&(26_000..=31_990).step_by(10).collect()), None);
        let runtime = json!({"metadata": {"name": "a"}, "spec": {"networkMode": "HostNetwork",
            "master": {"ports": {"rpc": 30000, "embedded": 30002}}, "worker": {"ports": {"web": 30004}}}});
        let runtime: GooseFSRuntime = serde_json::from_value(runtime).unwrap();
        assert!(on_nodes(&runtime));
        let ports = Ports::on_nodes(26_010, &runtime);
        assert_eq!((ports.master_rpc, ports.master_web, ports.master_raft), (30_000, 26_011, 30_002));
        assert_eq!((ports.worker_rpc, ports.worker_web, ports.fuse_web), (26_013, 30_004, 26_015));
    }
}
