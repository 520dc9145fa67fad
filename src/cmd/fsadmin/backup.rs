//! `goosefs fsadmin backup`. Fluid cuts the path out of the second line.

use crate::cmd::out;
use goosefs_client::Client;

pub(super) async fn run(client: &Client, directory: Option<String>, local: bool) -> anyhow::Result<()> {
    let backup = client.admin().backup(directory.as_deref(), local).await?;
    out::line(&format!("Backup Host        : {}", backup.host));
    out::line(&format!("Backup URI         : {}", backup.uri));
    out::line(&format!("Backup Entry Count : {}", backup.entries));
    Ok(())
}
