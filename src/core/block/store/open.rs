//! Opening: whose the directories are, what a former life left in them, and how far it can be trusted.

use super::super::container;
use super::super::evict::Policy;
use super::super::held::HeldLog;
use super::super::identity::{self, Identity};
use super::super::index::{DirId, Index, MAX_DIRS};
use super::super::mirror::{LastStop, Mirror};
use super::super::quota::Quota;
use super::super::record::{BlockRecord, ContainerRecord, Key};
use super::adopt::{empty_foreign, quarantined_bytes};
use super::{Counts, Dir, Inner, Store, StoreConfig, TierSpec};
use crate::clock::Clock;
use crate::id::{BlockId, ContainerId};
use crate::{Code, Error, Result};
use parking_lot::{Condvar, Mutex, RwLock};
use prost::Message;
use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

/// What was found when the store was opened.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Opening {
    /// How each directory was left the last time.
    pub last_stops: Vec<(PathBuf, LastStop)>,
    /// Bytes of the held logs that could not be read.
    pub held_log_cut: u64,
    /// Files that no record spoke of, removed.
    pub orphans: u64,
    /// Bytes in known files that no record spoke of, given back.
    pub strays: u64,
    /// Only copies whose file is missing.
    pub lost: Vec<BlockId>,
    /// Bytes evicted because a quota has shrunk.
    pub trimmed: u64,
    /// Directories that belonged to another worker or cluster, and what became of them.
    pub foreign: Vec<(PathBuf, super::Adopted)>,
}

pub(super) fn open(config: &StoreConfig, clock: Arc<dyn Clock>, policy: Box<dyn Policy>) -> Result<Store> {
    check(config)?;
    let mut opening = Opening::default();
    let specs: Vec<(usize, &TierSpec, &super::DirSpec)> = config
        .tiers
        .iter()
        .enumerate()
        .flat_map(|(tier, spec)| spec.dirs.iter().map(move |dir| (tier, spec, dir)))
        .collect();
    let mut index = Index::new(specs.iter().map(|(_, _, dir)| Quota::new(dir.quota)).collect());
    let mut dirs = Vec::new();
    let mut locks = Vec::new();
    let mut identities = Vec::new();
    for (_, _, dir_spec) in &specs {
        let abilities = container::prepare(&dir_spec.path)?;
        locks.push((abilities, identity::lock(&dir_spec.path)?));
        identities.push(Identity::read(&dir_spec.path)?);
    }
    let chosen = identities.iter().flatten().next().copied().unwrap_or_else(Identity::random);
    let mut locks = locks.into_iter();
    for (number, (tier, spec, dir_spec)) in (0..).zip(&specs) {
        let Some((abilities, lock)) = locks.next() else { break };
        let (mirror, last_stop) = Mirror::open(&dir_spec.path)?;
        let (mut held, mut records, cut) = HeldLog::open(&dir_spec.path)?;
        if let Some(foreign) = identities[usize::from(number)].filter(|found| *found != chosen) {
            let adopted = empty_foreign(&dir_spec.path, foreign, &mirror, &records)?;
            opening.foreign.push((dir_spec.path.clone(), adopted));
            records.clear();
        }
        let id = DirId(number);
        restore(&mut index, id, &mirror, last_stop == LastStop::Clean);
        for (block, record) in &records {
            if let Some(block_held) = &record.held {
                index.restore_held(id, *block, block_held);
            }
        }
        held.rewrite(&index.held_records(id))?;
        opening.last_stops.push((dir_spec.path.clone(), last_stop));
        opening.held_log_cut += cut;
        index.quota_mut(id).quarantined = quarantined_bytes(&dir_spec.path);
        dirs.push(Dir {
            id,
            path: dir_spec.path.clone(),
            abilities,
            failed: AtomicBool::new(false),
            mirror,
            held: Mutex::new(held),
            gone: Mutex::default(),
            tier: *tier,
            alias: spec.alias.clone(),
            high: spec.high,
            low: spec.low,
            _lock: lock,
        });
    }
    compare_with_files(&mut index, &dirs, &mut opening)?;
    opening.strays = give_strays_back(&index, &dirs)?;
    let mut store = Store {
        inner: Arc::new(Inner {
            dirs,
            index: Mutex::new(index),
            settled: Condvar::new(),
            clock,
            policy,
            counts: Counts::default(),
            identity: RwLock::new(chosen),
            opening: Opening::default(),
            evicting: Mutex::default(),
            pressure: OnceLock::new(),
            sync_after: config.sync_after,
            unsynced: Mutex::new(VecDeque::new()),
        }),
    };
    for (dir, found) in store.inner.dirs.iter().zip(&identities).filter(|(_, found)| **found != Some(chosen))
    {
        tracing::debug!(dir = %dir.path.display(), ?found, "a tier directory becomes this worker's");
        chosen.write(&dir.path)?;
    }
    opening.trimmed = store.trim()?;
    Counts::add(&store.inner.counts.lost_blocks, opening.lost.len() as u64);
    if let Some(inner) = Arc::get_mut(&mut store.inner) {
        inner.opening = opening;
    }
    Ok(store)
}

fn check(config: &StoreConfig) -> Result<()> {
    let bad = |message: String| Err(Error::new(Code::InvalidArgument, message));
    let paths: Vec<&PathBuf> = config.tiers.iter().flat_map(|tier| &tier.dirs).map(|dir| &dir.path).collect();
    if paths.is_empty() || paths.len() > MAX_DIRS {
        return bad(format!("a worker needs 1 to {MAX_DIRS} tier directories, not {}", paths.len()));
    }
    if let Some(twice) = paths.iter().enumerate().find(|(at, path)| paths[..*at].contains(path)) {
        return bad(format!("the tier directory {} is given twice", twice.1.display()));
    }
    for tier in &config.tiers {
        if !(0.0 < tier.low && tier.low <= tier.high && tier.high <= 1.0) {
            return bad(format!(
                "tier {}: the watermarks must be 0 < low <= high <= 1, not low {} and high {}",
                tier.alias, tier.low, tier.high
            ));
        }
    }
    Ok(())
}

fn restore(index: &mut Index, dir: DirId, mirror: &Mirror, clean: bool) {
    let mut blocks = Vec::new();
    let mut containers = Vec::new();
    for (key, value) in mirror.records() {
        match key {
            Key::Container(id) => containers.extend(ContainerRecord::decode(&*value).ok().map(|r| (id, r))),
            Key::Block(id) => blocks.extend(BlockRecord::decode(&*value).ok().map(|r| (id, r))),
        }
    }
    for (id, record) in containers {
        index.restore_container(dir, id, &record, clean);
    }
    for (id, record) in blocks {
        if index.holds(id.container(), dir) {
            index.restore_block(dir, id, &record);
        }
    }
}

/// Removes files that nobody speaks of and forgets records whose file is missing.
fn compare_with_files(index: &mut Index, dirs: &[Dir], opening: &mut Opening) -> Result<()> {
    for dir in dirs {
        let files: BTreeSet<ContainerId> = container::list(&dir.path)
            .map_err(|cause| Error::io(format_args!("list {}", dir.path.display()), cause))?
            .into_iter()
            .collect();
        for id in files.iter().filter(|id| !index.holds(**id, dir.id)) {
            let path = container::path(&dir.path, *id);
            fs::remove_file(&path)
                .map_err(|cause| Error::io(format_args!("remove {}", path.display()), cause))?;
            opening.orphans += 1;
        }
        let known: Vec<ContainerId> = index.ids().filter(|id| index.holds(*id, dir.id)).collect();
        for id in known.into_iter().filter(|id| !files.contains(id)) {
            opening.lost.extend(index.forget_file(dir.id, id));
        }
    }
    Ok(())
}

/// Gives back disk space that no record speaks of: bytes that a fill or writer put into a file whose record was not
/// written any more before a kill.
fn give_strays_back(index: &Index, dirs: &[Dir]) -> Result<u64> {
    let mut given_back = 0;
    for dir in dirs {
        let doing = |id: ContainerId, cause| {
            Error::io(format_args!("trim container {id} in {}", dir.path.display()), cause)
        };
        for id in index.ids().filter(|id| index.holds(*id, dir.id)) {
            let Some(known) = index.known_bytes(id, dir.id) else { continue };
            let file = container::open(&dir.path, id).map_err(|cause| doing(id, cause))?;
            let before = file.metadata().map_err(|cause| doing(id, cause))?;
            let counted: u64 = known.iter().map(|range| range.end - range.start).sum();
            if before.blocks() * 512 <= counted {
                continue;
            }
            let mut at = 0;
            let end = before.len().max(at).next_multiple_of(4096);
            for range in known.into_iter().chain(std::iter::once(end..end)) {
                container::punch(&file, at..range.start.max(at)).map_err(|cause| doing(id, cause))?;
                at = at.max(range.end);
            }
            let after = file.metadata().map_err(|cause| doing(id, cause))?;
            given_back += (before.blocks() * 512).saturating_sub(after.blocks() * 512);
        }
    }
    Ok(given_back)
}
