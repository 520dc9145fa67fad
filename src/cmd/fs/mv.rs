//! `goosefs fs mv`.

use super::tree;
use crate::cmd::connection::path;
use crate::cmd::out;
use goosefs_client::Client;
use goosefs_core::Code;
use goosefs_core::path::NsPath;

pub(super) async fn run(client: &Client, source: &str, destination: &str) -> anyhow::Result<()> {
    let (from, to) = (path(source)?, path(destination)?);
    if let Err(error) = client.admin().rename(&from, &to).await {
        if error.code == Code::NotFound {
            // Which of the two, only a look tells.
            tree::stat(client, &from).await?;
            let parent = to.parent().unwrap_or_else(NsPath::root);
            return Err(tree::missing(error, &parent).into());
        }
        return Err(error.into());
    }
    out::line(&format!("Renamed {from} to {to}"));
    Ok(())
}
