//! Files whose writers are gone: they become complete, as long as what workers have taken of them without a gap.
//!
//! That is what a file system has of a file whose writer was killed. An object that a client of the GooseFS protocol wrote
//! to the storage by itself counts first.

use crate::journal::Op;
use crate::master::Master;
use goosefs_core::id::{BlockId, ContentId, InodeId};
use goosefs_core::proto::internal::{Caller, VersionResponse};
use goosefs_core::proto::journal::{CompleteFile, entry::Command};
use goosefs_core::{Code, Result};
use std::time::Duration;

/// Files completed in one round.
const MOST: usize = 100;

/// Completes what was left.
pub(super) async fn complete(master: &Master) -> Result<()> {
    let now = master.journal.now_ms();
    let before = |age: Duration| now.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    let (closed, unnamed) =
        (before(master.config.abandoned_after), before(master.config.unnamed_abandoned_after));
    let left = master.journal.read()?.abandoned(closed, unnamed, MOST);
    for (content, unnamed) in left {
        if let Err(error) = complete_one(master, content, unnamed).await {
            if error.code == Code::NotLeader {
                return Err(error);
            }
            tracing::warn!(content = content.0, %error, "a file that its writer left cannot be completed yet");
        }
    }
    Ok(())
}

async fn complete_one(master: &Master, content: ContentId, unnamed: bool) -> Result<()> {
    let version = master.journal.read()?.version(content)?;
    let write_type = master.journal.read()?.attr(content.0)?.write_type();
    let persisted = if unnamed && crate::writing::through(write_type) && version.mount != 0 {
        master.find_object(InodeId(version.inode)).await?
    } else {
        None
    };
    let length = persisted.as_ref().map_or_else(|| without_gap(&version), |object| object.length);
    let command = Command::CompleteFile(CompleteFile {
        content: content.0,
        length,
        persisted,
        ..CompleteFile::default()
    });
    master.journal.propose(command, &Caller::default(), Op::Unnumbered).await?;
    tracing::info!(
        content = content.0,
        path = version.ufs_path,
        length,
        "completed a file that its writer left"
    );
    Ok(())
}

/// Bytes from the start that workers have.
fn without_gap(version: &VersionResponse) -> u64 {
    let mut blocks: Vec<(u64, u64)> =
        version.blocks.iter().map(|block| (BlockId(block.block).index(), block.length)).collect();
    blocks.sort_unstable();
    let mut end = 0;
    for (at, (index, length)) in (0..).zip(blocks) {
        if index != at || end != at * version.block_size {
            break;
        }
        end += length;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use goosefs_core::proto::internal::BlockHolders;

    #[test]
    fn what_lies_behind_a_gap_does_not_count() {
        let content = ContentId(0xff_ffff);
        let of = |blocks: &[(u64, u64)]| {
            let holders = |(index, length): &(u64, u64)| BlockHolders {
                block: content.block(*index).0,
                length: *length,
                workers: vec![1],
            };
            let blocks = blocks.iter().map(holders).collect();
            without_gap(&VersionResponse { block_size: 10, blocks, ..VersionResponse::default() })
        };
        assert_eq!(of(&[]), 0);
        assert_eq!(of(&[(1, 10)]), 0);
        assert_eq!(of(&[(1, 4), (0, 10)]), 14);
        assert_eq!(of(&[(0, 10), (2, 10)]), 10);
        assert_eq!(of(&[(0, 4), (1, 10)]), 4);
    }
}
