//! `goosefs fs ls`.

use super::tree::missing;
use crate::cli::LsArgs;
use crate::cmd::connection::path;
use crate::cmd::{out, print};
use anyhow::bail;
use goosefs_client::Client;
use goosefs_core::path::NsPath;
use goosefs_core::proto::internal::NodeKind;
use goosefs_core::proto::public::file::FileInfo;
use std::cmp::Ordering;

pub(super) async fn run(client: &Client, args: &LsArgs) -> anyhow::Result<()> {
    let order = order(&args.sort)?;
    let time = timestamp(&args.timestamp)?;
    // -f asks the storage again, whatever is known.
    let sync = if args.force { Some(0) } else { client.config().sync_interval_ms };
    for text in &args.paths {
        let mut folders = vec![path(text)?];
        while let Some(folder) = folders.pop() {
            let listed = if args.directory {
                client.admin().status(&folder, sync).await.map(|info| vec![info])
            } else {
                client.admin().list(&folder, sync).await
            };
            let mut infos = listed.map_err(|error| missing(error, &folder))?;
            infos.sort_by(order);
            if args.reverse {
                infos.reverse();
            }
            // As `stat` says, no file is pinned: there is no command that would.
            for info in infos.iter().filter(|_| !args.pinned) {
                out::line(&row(info, args.human, time));
            }
            if args.recursive && !args.directory {
                let below = infos.iter().rev().filter(|info| info.folder() && info.path() != folder.as_str());
                folders.extend(below.map(|info| NsPath::parse(info.path())).collect::<Result<Vec<_>, _>>()?);
            }
        }
    }
    Ok(())
}

type Order = fn(&FileInfo, &FileInfo) -> Ordering;

fn order(option: &str) -> anyhow::Result<Order> {
    Ok(match option {
        "creationTime" => |a, b| a.creation_time_ms().cmp(&b.creation_time_ms()),
        "inMemoryPercentage" => |a, b| a.in_memory_percentage().cmp(&b.in_memory_percentage()),
        "lastAccessTime" => |a, b| a.last_access_time_ms().cmp(&b.last_access_time_ms()),
        "lastModificationTime" => |a, b| a.last_modification_time_ms().cmp(&b.last_modification_time_ms()),
        "name" => |a, b| a.name().cmp(b.name()),
        "path" => |a, b| a.path().cmp(b.path()),
        "size" => |a, b| a.length().cmp(&b.length()),
        other => bail!(
            "--sort={other}: it takes creationTime, inMemoryPercentage, lastAccessTime, lastModificationTime, name, \
             path or size"
        ),
    })
}

fn timestamp(option: &str) -> anyhow::Result<fn(&FileInfo) -> i64> {
    Ok(match option {
        "createdTime" => FileInfo::creation_time_ms,
        "lastAccessTime" => FileInfo::last_access_time_ms,
        "lastModificationTime" => FileInfo::last_modification_time_ms,
        other => bail!("--timestamp={other}: it takes createdTime, lastAccessTime or lastModificationTime"),
    })
}

fn row(info: &FileInfo, human: bool, time: fn(&FileInfo) -> i64) -> String {
    let kind = match (info.folder(), info.symlink().is_empty()) {
        (true, _) => NodeKind::Directory,
        (false, true) => NodeKind::File,
        (false, false) => NodeKind::Symlink,
    };
    let length = u64::try_from(info.length()).unwrap_or_default();
    let size = if human && !info.folder() { print::size(length) } else { length.to_string() };
    let cached = if info.folder() { "DIR".to_owned() } else { format!("{}%", info.in_goose_fs_percentage()) };
    format!(
        "{:<12}{:<15}{:<15}{:>15}{:>16}{:>24}{:>5} {:<5}",
        print::mode(kind, info.mode().cast_unsigned()),
        info.owner(),
        info.group(),
        size,
        info.persistence_state(),
        print::date(u64::try_from(time(info)).unwrap_or_default()),
        cached,
        info.path()
    )
    .trim_end()
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_columns_that_scripts_know() {
        let info = FileInfo {
            path: Some("/test.txt".to_owned()),
            owner: Some("goosefs".to_owned()),
            group: Some("staff".to_owned()),
            mode: Some(0o644),
            length: Some(7),
            persistence_state: Some("PERSISTED".to_owned()),
            in_goose_fs_percentage: Some(100),
            ..FileInfo::default()
        };
        let row = row(&info, false, |_| 0);
        assert!(
            row.starts_with("-rw-r--r--  goosefs        staff                        7       PERSISTED"),
            "{row}"
        );
        assert!(row.ends_with(" 100% /test.txt"), "{row}");
    }
}
