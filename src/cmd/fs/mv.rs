//! `goosefs fs mv`.

use crate::cmd::connection::path;
use crate::cmd::out;
use goosefs_client::Client;

pub(super) async fn run(client: &Client, source: &str, destination: &str) -> anyhow::Result<()> {
    let (from, to) = (path(source)?, path(destination)?);
    client.admin().rename(&from, &to).await.map_err(|error| super::tree::missing(error, &from))?;
    out::line(&format!("Renamed {from} to {to}"));
    Ok(())
}
