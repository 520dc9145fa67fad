//! `goosefs fs unmount`.

use crate::cmd::connection::path;
use crate::cmd::out;
use goosefs_client::Client;

pub(super) async fn run(client: &Client, text: &str, force: bool) -> anyhow::Result<()> {
    let path = path(text)?;
    client.admin().unmount(&path, force).await?;
    out::line(&format!("Unmounted {path}"));
    Ok(())
}
