//! `goosefs fs free`.

use crate::cmd::connection::path;
use crate::cmd::out;
use anyhow::bail;
use goosefs_client::Client;
use goosefs_core::path::NsPath;
use goosefs_core::proto::public::file::FreePResponse;

pub(super) async fn run(client: &Client, text: &str, force: bool) -> anyhow::Result<()> {
    let path = path(text)?;
    let freed = client.admin().free(&path, true, force).await;
    let left = freed.map_err(|error| super::tree::missing(error, &path))?;
    if let Some(stayed) = stayed(&path, &left) {
        bail!(stayed);
    }
    out::line(&format!("{path} was successfully freed from GooseFS space."));
    Ok(())
}

/// What was not freed, and what to do about it; none when all was.
fn stayed(path: &NsPath, left: &FreePResponse) -> Option<String> {
    let mut parts = Vec::new();
    let files = |count: i64| if count == 1 { "1 file".to_owned() } else { format!("{count} files") };
    if left.unpersisted() > 0 {
        let (files, first) = (files(left.unpersisted()), left.first_unpersisted());
        parts.push(format!("{files} that only the cache has, {first} first (goosefs fs persist {path})"));
    }
    if left.pinned() > 0 {
        let (count, first) = (left.pinned(), left.first_pinned());
        let files = if count == 1 { "file" } else { "files" };
        parts.push(format!("{count} pinned {files}, {first} first (goosefs fs free -f {path})"));
    }
    (!parts.is_empty()).then(|| format!("{path} was freed but for {}", parts.join(" and ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stayed_is_counted_and_named() {
        let path = NsPath::parse("/d").unwrap();
        assert_eq!(stayed(&path, &FreePResponse::default()), None);
        let left = FreePResponse {
            unpersisted: Some(2),
            first_unpersisted: Some("/d/a".to_owned()),
            pinned: Some(1),
            first_pinned: Some("/d/p".to_owned()),
        };
        assert_eq!(
            stayed(&path, &left).as_deref(),
            Some(
                "/d was freed but for 2 files that only the cache has, /d/a first (goosefs fs persist /d) and 1 pinned \
                 file, /d/p first (goosefs fs free -f /d)"
            )
        );
    }
}
