//! `goosefs fs mkdir`.

use crate::cmd::connection::path;
use crate::cmd::out;
use goosefs_client::Client;

pub(super) async fn run(client: &Client, texts: &[String]) -> anyhow::Result<()> {
    for text in texts {
        let path = path(text)?;
        client.admin().make_dir(&path, true, false).await?;
        out::line(&format!("Successfully created directory {path}"));
    }
    Ok(())
}
