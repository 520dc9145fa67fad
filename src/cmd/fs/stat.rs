//! `goosefs fs stat`.

use super::tree::missing;
use crate::cmd::connection::path;
use crate::cmd::{out, print};
use goosefs_client::Client;
use goosefs_core::id::ContentId;
use goosefs_core::proto::public::file::{FileBlockInfo, FileInfo};

pub(super) async fn run(client: &Client, text: &str, format: Option<&str>) -> anyhow::Result<()> {
    let path = path(text)?;
    let asked = client.admin().status(&path, client.config().sync_interval_ms).await;
    let mut info = asked.map_err(|error| missing(error, &path))?;
    if format.is_none() && info.length() > 0 && !info.folder() {
        let cached = client.cached(&[ContentId(info.file_id().cast_unsigned())]).await?;
        let bytes: u64 = cached.iter().flat_map(|(_, bytes)| bytes).sum();
        let length = info.length().cast_unsigned();
        let percent = u128::from(bytes.min(length)) * 100 / u128::from(length);
        info.in_goose_fs_percentage = i32::try_from(percent).ok();
    }
    match format {
        Some(format) => out::line(&formatted(&info, format)),
        None => {
            for line in whole(&info) {
                out::line(&line);
            }
        }
    }
    Ok(())
}

fn formatted(info: &FileInfo, format: &str) -> String {
    let mut text = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        let changed = u64::try_from(info.last_modification_time_ms()).unwrap_or_default();
        match letters.next() {
            Some('N') => text += info.name(),
            Some('z') => text += &info.length().to_string(),
            Some('b') => text += &info.block_ids.len().to_string(),
            Some('g') => text += info.group(),
            Some('u') => text += info.owner(),
            Some('y') => text += &print::date(changed),
            Some('Y') => text += &changed.to_string(),
            Some(other) => text.extend(['%', other]),
            None => text.push('%'),
        }
    }
    text
}

fn whole(info: &FileInfo) -> Vec<String> {
    let kind = if info.folder() { "directory" } else { "file" };
    let mut lines =
        vec![format!("{} is a {kind} path.", info.path()), format!("URIStatus{{info={}}}", fields(info))];
    if !info.folder() {
        if info.block_ids.is_empty() {
            lines.push("This file does not contain any blocks.".to_owned());
        } else {
            lines.push("Containing the following blocks: ".to_owned());
            lines.extend(info.file_block_infos.iter().map(block));
        }
    }
    lines
}

fn fields(info: &FileInfo) -> String {
    let blocks: Vec<String> = info
        .file_block_infos
        .iter()
        .map(|info| format!("FileBlockInfo{{blockInfo={}, offset={}}}", block(info), info.offset()))
        .collect();
    let mut xattr: Vec<&String> = info.xattr.keys().collect();
    xattr.sort();
    format!(
        "FileInfo{{fileId={}, name={}, path={}, ufsPath={}, length={}, blockSizeBytes={}, creationTimeMs={}, \
         completed={}, folder={}, pinned=false, cacheable={}, persisted={}, blockIds={:?}, \
         inGooseFSPercentage={}, lastModificationTimesMs={}, owner={}, group={}, mode={}, persistenceState={}, \
         mountPoint={}, fileBlockInfos=[{}], mountId={}, ufsFingerprint={}, symlink={}, xattr={:?}}}",
        info.file_id(),
        info.name(),
        info.path(),
        info.ufs_path(),
        info.length(),
        info.block_size_bytes(),
        info.creation_time_ms(),
        info.completed(),
        info.folder(),
        info.cacheable(),
        info.persisted(),
        info.block_ids,
        info.in_goose_fs_percentage(),
        info.last_modification_time_ms(),
        info.owner(),
        info.group(),
        info.mode(),
        info.persistence_state(),
        info.mount_point(),
        blocks.join(", "),
        info.mount_id(),
        info.ufs_fingerprint(),
        info.symlink(),
        xattr
    )
}

fn block(info: &FileBlockInfo) -> String {
    let block = info.block_info.clone().unwrap_or_default();
    let holders: Vec<String> = block
        .locations
        .iter()
        .map(|place| {
            let host = place.worker_address.as_ref().map_or("", |address| address.host());
            format!("BlockLocation{{workerId={}, address={host}}}", place.worker_id())
        })
        .collect();
    format!(
        "BlockInfo{{id={}, length={}, locations=[{}]}}",
        block.block_id(),
        block.length(),
        holders.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_filled_in() {
        let info = FileInfo {
            name: Some("f".to_owned()),
            length: Some(7),
            owner: Some("u".to_owned()),
            group: Some("g".to_owned()),
            block_ids: vec![1, 2],
            last_modification_time_ms: Some(5),
            ..FileInfo::default()
        };
        assert_eq!(
            formatted(&info, "%N is %z of %u:%g, %b blocks, %Y %q 100%"),
            "f is 7 of u:g, 2 blocks, 5 %q 100%"
        );
    }

    #[test]
    fn a_file_without_blocks_says_so() {
        let info = FileInfo { path: Some("/f".to_owned()), ..FileInfo::default() };
        let lines = whole(&info);
        assert_eq!(lines[0], "/f is a file path.");
        assert!(lines[1].starts_with("URIStatus{info=FileInfo{fileId=0, name=, path=/f, "), "{}", lines[1]);
        assert_eq!(lines[2], "This file does not contain any blocks.");
    }
}
