//! `goosefs fsadmin backup`. Fluid cuts the path out of the second line.

use crate::cmd::out;
use goosefs_client::Client;
use std::path::Path;

pub(super) async fn run(client: &Client, directory: Option<String>, local: bool) -> anyhow::Result<()> {
    let backup = client.admin().backup(directory.as_deref(), local).await?;
    out::line(&format!("Backup Host        : {}", backup.host));
    out::line(&format!("Backup URI         : {}", backup.uri));
    out::line(&format!("Backup Entry Count : {}", backup.entries));
    Ok(())
}

/// To a file on this machine.
pub(super) async fn fetch(client: &Client, file: &Path) -> anyhow::Result<()> {
    let file = std::path::absolute(file)?;
    let backup = client.backup_to(&file).await?;
    out::line(&format!("Backup URI         : {}", backup.path.display()));
    out::line(&format!("Backup Entry Count : {}", backup.records));
    out::line(&format!("Backup Length      : {}", backup.bytes));
    Ok(())
}
