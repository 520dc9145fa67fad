//! `goosefs fs free`.

use crate::cmd::connection::path;
use crate::cmd::out;
use goosefs_client::Client;

pub(super) async fn run(client: &Client, text: &str, force: bool) -> anyhow::Result<()> {
    let path = path(text)?;
    let freed = client.admin().free(&path, true, force).await;
    freed.map_err(|error| super::tree::missing(error, &path))?;
    out::line(&format!("{path} was successfully freed from GooseFS space."));
    Ok(())
}
