//! The store as a whole: what it promises however it is used and whenever it is killed.

mod eviction;
mod kill;
mod model;
mod opening;

use super::index::Content;
use super::{DirSpec, PAGE, PageRead, Store, StoreConfig, TierSpec};
use crate::Result;
use crate::checksum::crc32c;
use crate::clock::ManualClock;
use crate::id::{ContainerId, MountId};
use bytes::Bytes;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Two pages.
const BLOCK: u64 = 2 * PAGE;

fn config(dir: &Path, quota: u64) -> StoreConfig {
    let dirs = vec![DirSpec { path: dir.to_owned(), quota }];
    let tier = TierSpec { alias: "SSD".to_owned(), dirs, high: 0.9, low: 0.5 };
    StoreConfig { tiers: vec![tier], sync_after: Duration::ZERO }
}

fn open(dir: &Path, quota: u64) -> (Store, Arc<ManualClock>) {
    let clock = ManualClock::at(1_000_000);
    (Store::open(&config(dir, quota), clock.clone()).unwrap(), clock)
}

/// A complete content of the under-storage.
fn content(number: u64, length: u64) -> Content {
    Content {
        id: ContainerId(number).content(),
        block_size: BLOCK,
        generation: 1,
        length,
        complete: true,
        mount: MountId(1),
        pinned: false,
    }
}

/// The bytes that a content of this number and generation has: other ones at every offset, never all zeros.
fn text(number: u64, generation: u64, offset: u64, length: u64) -> Vec<u8> {
    let word = |at: u64| {
        let mixed = (number << 48 ^ generation << 40 ^ at).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed ^ mixed >> 29 | 1).to_le_bytes()
    };
    (offset..offset + length).map(|at| word(at / 8)[(at % 8) as usize]).collect()
}

fn page_text(content: &Content, index: u64, page: u32) -> Vec<u8> {
    let start = u64::from(page) * PAGE;
    let length = (content.block_len(index) - start).min(PAGE);
    text(content.id.container().0, content.generation, index * content.block_size + start, length)
}

/// Fills one page as a worker does; `false` when there is no room.
fn fill(store: &Store, content: &Content, index: u64, page: u32) -> bool {
    let Some(slot) = store.slot(content, index) else { return false };
    let Some(room) = slot.reserve(page) else { return false };
    let text = page_text(content, index, page);
    let crc = crc32c(text.as_ref());
    room.fill(&[Bytes::from(text)], crc).is_ok()
}

fn fill_whole(store: &Store, content: &Content) -> bool {
    (0..content.blocks()).all(|index| {
        let pages = content.block_len(index).div_ceil(PAGE) as u32;
        (0..pages).all(|page| fill(store, content, index, page))
    })
}

/// Reads one page; none when it is absent.
fn read(store: &Store, content: &Content, index: u64, page: u32) -> Result<Option<Bytes>> {
    let Some(pin) = store.pin(content.id.block(index), Some(content.generation)) else { return Ok(None) };
    match pin.read(u64::from(page) * PAGE, PAGE as usize)? {
        PageRead::Bytes(bytes) => Ok(Some(bytes)),
        PageRead::Absent => Ok(None),
    }
}

/// Whether the page is here; what is here must be right.
fn right_if_here(store: &Store, content: &Content, index: u64, page: u32) -> bool {
    let Some(bytes) = read(store, content, index, page).unwrap() else { return false };
    assert!(
        bytes == page_text(content, index, page),
        "wrong bytes in page {page} of block {index} of {content:?}"
    );
    true
}

/// Writes `length` bytes from `offset` of a block on and commits them.
fn write(store: &Store, content: &Content, index: u64, offset: u64, length: u64) -> Result<()> {
    let mut writer = store.write_block(content, index, offset)?;
    let start = index * content.block_size + offset;
    writer.append(&text(content.id.container().0, content.generation, start, length))?;
    writer.commit()?;
    Ok(())
}

fn container_path(dir: &Path, number: u64) -> PathBuf {
    super::container::path(dir, ContainerId(number))
}

/// Disk space that the container files below `dir` take.
fn disk_space(dir: &Path) -> u64 {
    let found = super::container::list(dir).unwrap();
    let files = found.into_iter().map(|id| super::container::path(dir, id));
    files.filter_map(|path| path.metadata().ok()).map(|metadata| metadata.blocks() * 512).sum()
}

fn used(store: &Store) -> u64 {
    store.usage().dirs.iter().map(|dir| dir.used).sum()
}
