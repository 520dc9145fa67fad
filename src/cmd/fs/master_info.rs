//! `goosefs fs masterInfo`: as the masters themselves say, whichever of them was asked.

use crate::cmd::out;
use goosefs_client::Client;

pub(super) async fn run(client: &Client) -> anyhow::Result<()> {
    let cluster = client.describe().await?;
    match cluster.masters.iter().find(|master| master.leader) {
        Some(leader) => out::line(&format!("current leader master: {}", leader.rpc)),
        None => out::line("Failed to find leader master"),
    }
    let all: Vec<&str> = cluster.masters.iter().map(|master| master.rpc.as_str()).collect();
    out::line(&format!("All masters: [{}]", all.join(", ")));
    Ok(())
}
