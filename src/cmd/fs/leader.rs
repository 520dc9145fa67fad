//! `goosefs fs leader`.

use crate::cmd::out;
use anyhow::Context;
use goosefs_client::Client;

pub(super) async fn run(client: &Client) -> anyhow::Result<()> {
    let leader = client.leader().await.context("The leader is not currently serving requests.")?;
    out::line(leader.rsplit_once(':').map_or(leader.as_str(), |(host, _)| host));
    Ok(())
}
