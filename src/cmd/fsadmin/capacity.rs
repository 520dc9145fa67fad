//! `goosefs fsadmin report capacity`. Fluid reads the table in pairs of lines from `Worker Name` on.

use crate::cmd::{out, print};
use goosefs_client::Client;
use goosefs_core::proto::internal::{TierUsage, WorkerEntry};
use std::collections::BTreeSet;

type Wanted = Box<dyn Fn(&WorkerEntry) -> bool>;

pub(super) async fn run(client: &Client, live: bool, lost: bool, names: Vec<String>) -> anyhow::Result<()> {
    let mut workers = client.workers().await?;
    let (kind, wanted): (&str, Wanted) = match (live, lost, names.is_empty()) {
        (true, _, _) => ("live", Box::new(|worker| worker.live)),
        (_, true, _) => ("lost", Box::new(|worker| !worker.live)),
        (_, _, false) => ("specified", Box::new(move |worker| names.contains(&host(worker).to_owned()))),
        _ => ("all", Box::new(|_| true)),
    };
    workers.retain(wanted);
    workers.sort_by(|a, b| host(a).cmp(host(b)));
    for line in lines(kind, &workers) {
        out::line(&line);
    }
    Ok(())
}

fn host(worker: &WorkerEntry) -> &str {
    worker.address.as_ref().map_or("", |address| address.host.as_str())
}

fn lines(kind: &str, workers: &[WorkerEntry]) -> Vec<String> {
    if workers.is_empty() {
        return vec!["No workers found.".to_owned()];
    }
    let tiers: BTreeSet<&str> =
        workers.iter().flat_map(|worker| &worker.tiers).map(|tier| tier.alias.as_str()).collect();
    // Nothing can be cached on a lost worker; only where nobody else is asked about it counts.
    let lost_count = workers.iter().all(|worker| !worker.live);
    let sum = |value: fn(&TierUsage) -> u64, tier: Option<&str>| -> u64 {
        let counted = workers.iter().filter(|worker| worker.live || lost_count);
        let all = counted.flat_map(|worker| &worker.tiers);
        all.filter(|usage| tier.is_none_or(|tier| usage.alias == tier)).map(value).sum()
    };
    let (capacity, used) = (sum(|tier| tier.capacity, None), sum(|tier| tier.used, None));
    let mut lines = vec![format!("Capacity information for {kind} workers: ")];
    for (name, value) in
        [("Total", (|tier| tier.capacity) as fn(&TierUsage) -> u64), ("Used", |tier| tier.used)]
    {
        lines.push(format!("    {name} Capacity: {}", print::size(sum(value, None))));
        lines.extend(
            tiers
                .iter()
                .map(|tier| format!("        Tier: {tier}  Size: {}", print::size(sum(value, Some(tier))))),
        );
    }
    if let Some(percentage) = (used * 100).checked_div(capacity) {
        lines.push(format!("    Used Percentage: {percentage}%"));
        lines.push(format!("    Free Percentage: {}%", 100 - percentage.min(100)));
    }
    lines.push(String::new());
    lines.extend(table(&tiers, workers));
    lines
}

fn table(tiers: &BTreeSet<&str>, workers: &[WorkerEntry]) -> Vec<String> {
    let longest = workers.iter().map(|worker| host(worker).chars().count()).max().unwrap_or_default();
    let names = if longest < 16 { 16 } else { longest + 5 };
    let several = tiers.len() > 1;
    let mut header = format!("{:<names$} {:<16} {:<13} ", "Worker Name", "Last Heartbeat", "Storage");
    if several {
        header += &format!("{:<16} ", "Total");
    }
    header += &columns(tiers.iter().map(|tier| (*tier).to_owned()));
    let mut lines = vec![header.trim_end().to_owned()];
    for worker in workers {
        let of = |tier: &str, value: fn(&TierUsage) -> u64| -> u64 {
            worker.tiers.iter().filter(|usage| usage.alias == tier).map(value).sum()
        };
        let total = |value: fn(&TierUsage) -> u64| tiers.iter().map(|tier| of(tier, value)).sum::<u64>();
        let mut first =
            format!("{:<names$} {:<16} {:<13} ", host(worker), worker.silent_ms / 1000, "capacity");
        let mut second = format!("{:<names$} {:<16} {:<13} ", "", "", "used");
        if several {
            first += &format!("{:<16} ", print::size(total(|tier| tier.capacity)));
            second += &format!("{:<16} ", with_share(total(|tier| tier.used), total(|tier| tier.capacity)));
        }
        first += &columns(tiers.iter().map(|tier| print::size(of(tier, |usage| usage.capacity))));
        second += &columns(
            tiers
                .iter()
                .map(|tier| with_share(of(tier, |usage| usage.used), of(tier, |usage| usage.capacity))),
        );
        if !worker.live {
            first += "(lost)";
        }
        lines.extend([first.trim_end().to_owned(), second.trim_end().to_owned()]);
    }
    lines
}

fn columns(cells: impl Iterator<Item = String>) -> String {
    cells.fold(String::new(), |line, cell| line + &format!("{cell:<14}"))
}

fn with_share(used: u64, capacity: u64) -> String {
    format!("{} ({}%)", print::size(used), (used * 100).checked_div(capacity).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use goosefs_core::proto::internal::WorkerAddress;

    fn worker(host: &str, tiers: &[(&str, u64, u64)]) -> WorkerEntry {
        let tiers = tiers.iter().map(|(alias, capacity, used)| TierUsage {
            alias: (*alias).to_owned(),
            capacity: *capacity,
            used: *used,
        });
        WorkerEntry {
            address: Some(WorkerAddress { host: host.to_owned(), ..Default::default() }),
            tiers: tiers.collect(),
            live: true,
            ..Default::default()
        }
    }

    #[test]
    fn one_tier() {
        let lines = lines("all", &[worker("192.168.1.146", &[("MEM", 20_000_000, 4_390_000)])]);
        let expected = [
            "Capacity information for all workers: ",
            "    Total Capacity: 19.07MB",
            "        Tier: MEM  Size: 19.07MB",
            "    Used Capacity: 4287.11KB",
            "        Tier: MEM  Size: 4287.11KB",
            "    Used Percentage: 21%",
            "    Free Percentage: 79%",
            "",
            "Worker Name      Last Heartbeat   Storage       MEM",
            "192.168.1.146    0                capacity      19.07MB",
            "                                  used          4287.11KB (21%)",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn lost_workers_are_marked_and_add_nothing_to_the_total() {
        let mut gone = worker("b", &[("MEM", 10 << 20, 1 << 20)]);
        gone.live = false;
        let both = lines("all", &[worker("a", &[("MEM", 20 << 20, 2 << 20)]), gone.clone()]);
        assert_eq!(
            (both[1].as_str(), both[3].as_str()),
            ("    Total Capacity: 20.00MB", "    Used Capacity: 2048.00KB")
        );
        assert_eq!(both[9], "a                0                capacity      20.00MB");
        assert_eq!(both[11], "b                0                capacity      10.00MB       (lost)");
        assert_eq!(lines("lost", &[gone])[1], "    Total Capacity: 10.00MB");
    }

    #[test]
    fn several_tiers_have_a_total_and_nobody_says_so() {
        let lines = lines("all", &[worker("w", &[("MEM", 10240, 0), ("SSD", 10240, 10240)])]);
        assert_eq!(
            lines[10],
            "Worker Name      Last Heartbeat   Storage       Total            MEM           SSD"
        );
        assert_eq!(
            lines[12],
            "                                  used          10.00KB (50%)    0B (0%)       10.00KB (100%)"
        );
        assert_eq!(super::lines("all", &[]), ["No workers found."]);
    }
}
