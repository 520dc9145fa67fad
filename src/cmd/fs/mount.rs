//! `goosefs fs mount`: mounts, or lists what is mounted.

use crate::cli::MountArgs;
use crate::cmd::connection::path;
use crate::cmd::{out, print};
use anyhow::{Context, bail};
use goosefs_client::Client;
use goosefs_client::admin::MountSettings;
use goosefs_core::proto::public::file::MountPointInfo;
use std::collections::BTreeMap;

pub(super) async fn run(client: &Client, args: &MountArgs) -> anyhow::Result<()> {
    let (Some(text), Some(ufs)) = (&args.path, &args.ufs) else {
        if let Some(text) = &args.path {
            bail!("mount {text}: what to mount is missing (goosefs fs mount {text} URI)");
        }
        return list(client).await;
    };
    let path = path(text)?;
    let mut options = BTreeMap::new();
    for option in &args.option {
        let (key, value) =
            option.split_once('=').with_context(|| format!("--option {option} is not KEY=VALUE"))?;
        options.insert(key.to_owned(), value.to_owned());
    }
    goosefs_ufs::check_options(ufs, &options)?;
    let settings = MountSettings { read_only: args.readonly, shared: args.shared, options };
    client.admin().mount(&path, ufs, settings).await?;
    out::line(&format!("Mounted {ufs} at {path}"));
    Ok(())
}

async fn list(client: &Client) -> anyhow::Result<()> {
    for line in table(&client.admin().mounts().await?) {
        out::line(&line);
    }
    Ok(())
}

/// The mount table, a line each; `fsadmin report ufs` prints it, too.
pub(in crate::cmd) fn table(mounts: &BTreeMap<String, MountPointInfo>) -> Vec<String> {
    let widest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or_default();
    let uris = widest(&mut mounts.values().map(|info| info.ufs_uri().chars().count()));
    let paths = widest(&mut mounts.keys().map(|path| path.chars().count()));
    mounts.iter().map(|(path, info)| line(path, info, uris, paths)).collect()
}

fn line(path: &str, info: &MountPointInfo, uris: usize, paths: usize) -> String {
    let room = |bytes: i64| u64::try_from(bytes).map_or_else(|_| "-1B".to_owned(), print::size);
    let (capacity, used) = (info.ufs_capacity_bytes(), info.ufs_used_bytes());
    let share = if capacity > 0 && used >= 0 {
        format!("({}%)", i128::from(used) * 100 / i128::from(capacity))
    } else {
        String::new()
    };
    let not = |yes: bool| if yes { "" } else { "not " };
    let properties: BTreeMap<&String, &String> = info.properties.iter().collect();
    let properties: Vec<String> = properties.iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!(
        "{:<uris$}  on  {path:<paths$}  ({}, capacity={}, used={}{share}, {}read-only, {}shared, properties={{{}}})",
        info.ufs_uri(),
        info.ufs_type(),
        room(capacity),
        room(used),
        not(info.read_only()),
        not(info.shared()),
        properties.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_aligned_and_its_third_word_is_the_path() {
        let info = |uri: &str, capacity: i64, read_only: bool| MountPointInfo {
            ufs_uri: Some(uri.to_owned()),
            ufs_type: Some(if uri.starts_with('/') { "local" } else { "web" }.to_owned()),
            ufs_capacity_bytes: Some(capacity),
            ufs_used_bytes: Some(if capacity > 0 { capacity / 4 } else { -1 }),
            read_only: Some(read_only),
            ..MountPointInfo::default()
        };
        let mounts = BTreeMap::from([
            ("/".to_owned(), info("/data", 40 << 30, false)),
            ("/hbase".to_owned(), info("http://h/", -1, true)),
        ]);
        assert_eq!(
            table(&mounts),
            [
                "/data      on  /       (local, capacity=40.00GB, used=10.00GB(25%), not read-only, not shared, properties={})",
                "http://h/  on  /hbase  (web, capacity=-1B, used=-1B, read-only, not shared, properties={})",
            ]
        );
    }
}
