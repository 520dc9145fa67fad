//! `goosefs fsadmin report summary`. Fluid reads `Master Address`, `Total Capacity: ` and `Used Capacity: ` from it.

use crate::cmd::{out, print};
use anyhow::Context;
use goosefs_client::Client;
use goosefs_core::proto::internal::{ClusterResponse, WorkerEntry};
use std::collections::BTreeMap;

pub(super) async fn run(client: &Client) -> anyhow::Result<()> {
    let cluster = client.describe_leader().await.context("The leader is not currently serving requests.")?;
    let workers = client.workers().await?;
    let now = jiff::Timestamp::now().as_millisecond();
    for line in lines(&cluster, &workers, u64::try_from(now).unwrap_or_default()) {
        out::line(&line);
    }
    Ok(())
}

fn lines(cluster: &ClusterResponse, workers: &[WorkerEntry], now_ms: u64) -> Vec<String> {
    let leader = cluster.masters.iter().find(|master| master.leader).cloned().unwrap_or_default();
    let rpc_port = leader.rpc.rsplit_once(':').map_or("", |(_, port)| port);
    let live = workers.iter().filter(|worker| worker.live).count();
    let mut capacity: BTreeMap<&str, u64> = BTreeMap::new();
    let mut used: BTreeMap<&str, u64> = BTreeMap::new();
    for tier in workers.iter().filter(|worker| worker.live).flat_map(|worker| &worker.tiers) {
        *capacity.entry(&tier.alias).or_default() += tier.capacity;
        *used.entry(&tier.alias).or_default() += tier.used;
    }
    let (all, taken): (u64, u64) = (capacity.values().sum(), used.values().sum());
    let mut lines = vec![
        "GooseFS cluster summary: ".to_owned(),
        format!("    Master Address: {}", leader.rpc),
        format!("    Web Port: {}", leader.web_port),
        format!("    Rpc Port: {rpc_port}"),
        format!("    Started: {}", print::date(cluster.started_ms)),
        format!("    Uptime: {}", print::uptime(now_ms.saturating_sub(cluster.started_ms))),
        format!("    Version: {}", cluster.version),
        "    Safe Mode: false".to_owned(),
        "    Zookeeper Enabled: false".to_owned(),
        format!("    Live Workers: {live}"),
        format!("    Lost Workers: {}", workers.len() - live),
        format!("    Total Capacity: {}", print::size(all)),
    ];
    lines.extend(capacity.iter().map(|(tier, bytes)| tier_line(tier, *bytes)));
    lines.push(format!("    Used Capacity: {}", print::size(taken)));
    lines.extend(used.iter().map(|(tier, bytes)| tier_line(tier, *bytes)));
    lines.push(format!("    Free Capacity: {}", print::size(all.saturating_sub(taken))));
    lines
}

fn tier_line(tier: &str, bytes: u64) -> String {
    format!("        Tier: {tier}  Size: {}", print::size(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use goosefs_core::proto::internal::{MasterEntry, TierUsage};

    #[test]
    fn the_summary_has_the_lines_that_fluid_reads() {
        let cluster = ClusterResponse {
            masters: vec![MasterEntry {
                rpc: "m-0:26000".to_owned(),
                web_port: 20001,
                leader: true,
                ..Default::default()
            }],
            started_ms: 1_000,
            version: "0.1.0".to_owned(),
            ..Default::default()
        };
        let worker = WorkerEntry {
            live: true,
            tiers: vec![TierUsage { alias: "MEM".to_owned(), capacity: 20_000_000, used: 10_160_000 }],
            ..Default::default()
        };
        let lines = lines(&cluster, &[worker, WorkerEntry::default()], 3_816_000);
        let started = format!("    Started: {}", print::date(1_000));
        let expected = [
            "GooseFS cluster summary: ",
            "    Master Address: m-0:26000",
            "    Web Port: 20001",
            "    Rpc Port: 26000",
            &started,
            "    Uptime: 0 day(s), 1 hour(s), 3 minute(s), and 35 second(s)",
            "    Version: 0.1.0",
            "    Safe Mode: false",
            "    Zookeeper Enabled: false",
            "    Live Workers: 1",
            "    Lost Workers: 1",
            "    Total Capacity: 19.07MB",
            "        Tier: MEM  Size: 19.07MB",
            "    Used Capacity: 9.69MB",
            "        Tier: MEM  Size: 9.69MB",
            "    Free Capacity: 9.38MB",
        ];
        assert_eq!(lines, expected);
    }
}
