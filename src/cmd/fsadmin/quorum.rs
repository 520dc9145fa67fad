//! `goosefs fsadmin journal …`: the texts of GooseFS.

use crate::cli::{Domain, JournalCommand, QuorumCommand};
use crate::cmd::out;
use crate::cmd::told::told;
use goosefs_client::Client;
use goosefs_client::admin::QuorumServer;
use std::time::{Duration, Instant};

/// How long an election may take.
const ELECTION: Duration = Duration::from_secs(180);

pub(super) async fn run(client: &Client, command: JournalCommand) -> anyhow::Result<()> {
    match command {
        JournalCommand::Checkpoint => {
            let host = client.admin().checkpoint().await?;
            out::line(&format!("Successfully took a checkpoint on master {host}"));
            Ok(())
        }
        JournalCommand::Quorum(QuorumCommand::Info { domain }) => {
            check(domain)?;
            for line in info(&client.admin().quorum().await?) {
                out::line(&line);
            }
            Ok(())
        }
        JournalCommand::Quorum(QuorumCommand::Elect { address }) => elect(client, &address).await,
        JournalCommand::Quorum(QuorumCommand::Remove { domain, address }) => {
            check(domain)?;
            client.admin().remove_master(&address).await?;
            out::line(&format!("Removed server at: {address} from quorum."));
            Ok(())
        }
        JournalCommand::Quorum(QuorumCommand::Add { domain, address }) => {
            check(domain)?;
            client.admin().add_master(&address).await?;
            out::line(&format!("Added server at: {address} to quorum."));
            Ok(())
        }
    }
}

/// There are no job masters with a quorum of their own.
fn check(domain: Domain) -> anyhow::Result<()> {
    match domain {
        Domain::Master => Ok(()),
        Domain::JobMaster => {
            anyhow::bail!("-domain JOB_MASTER: jobs live in the masters here; use -domain MASTER")
        }
    }
}

fn info(servers: &[QuorumServer]) -> Vec<String> {
    let leader = servers.iter().find(|server| server.leads);
    let mut lines = vec![
        "Journal domain\t: MASTER".to_owned(),
        format!("Quorum size\t: {}", servers.len()),
        format!("Quorum leader\t: {}", leader.map_or("UNKNOWN", |leader| leader.address.as_str())),
        String::new(),
        row("STATE", "PRIORITY", "SERVER ADDRESS"),
    ];
    lines.extend(servers.iter().map(|server| {
        let state = if server.available { "AVAILABLE" } else { "UNAVAILABLE" };
        row(state, &server.priority.to_string(), &server.address)
    }));
    // GooseFS ends here; what follows is for people.
    lines.extend([String::new(), role_row("ROLE", "SERVER ADDRESS")]);
    lines.extend(servers.iter().map(|server| {
        let role = match (server.leads, server.available, leader) {
            (true, ..) => "LEADER",
            (false, true, Some(_)) => "FOLLOWER",
            _ => "UNKNOWN",
        };
        role_row(role, &server.address)
    }));
    lines
}

fn role_row(role: &str, address: &str) -> String {
    format!("{role:<11} | {address}")
}

fn row(state: &str, priority: &str, address: &str) -> String {
    format!("{state:<11} | {priority:<8} | {address}")
}

async fn elect(client: &Client, address: &str) -> anyhow::Result<()> {
    let failed = |why: &str| anyhow::anyhow!("Failed to elect {address} as the new leader: {why}");
    client.admin().elect(address).await.map_err(|error| failed(&told(&error.into())))?;
    let until = Instant::now() + ELECTION;
    loop {
        let servers = client.admin().quorum().await.map_err(|error| failed(&told(&error.into())))?;
        if servers.iter().any(|server| server.leads && server.address == address) {
            out::line(&format!("Successfully elected {address} as the new leader"));
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(failed("the election was initiated but never completed"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quorum_is_shown_as_goosefs_shows_it() {
        let server = |address: &str, available, leads| QuorumServer {
            address: address.to_owned(),
            available,
            leads,
            priority: 0,
        };
        let servers =
            [server("m0:9202", true, false), server("m1:9202", true, true), server("m2:9202", false, false)];
        assert_eq!(
            info(&servers),
            [
                "Journal domain\t: MASTER",
                "Quorum size\t: 3",
                "Quorum leader\t: m1:9202",
                "",
                "STATE       | PRIORITY | SERVER ADDRESS",
                "AVAILABLE   | 0        | m0:9202",
                "AVAILABLE   | 0        | m1:9202",
                "UNAVAILABLE | 0        | m2:9202",
                "",
                "ROLE        | SERVER ADDRESS",
                "FOLLOWER    | m0:9202",
                "LEADER      | m1:9202",
                "UNKNOWN     | m2:9202",
            ]
        );
        assert_eq!(info(&servers[2..])[2], "Quorum leader\t: UNKNOWN");
    }
}
