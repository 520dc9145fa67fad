//! Which workers a block belongs to: consistent hashing exactly as GooseFS 2.x clients compute it, so that we and they
//! look for a block in the same place.
//!
//! Every worker stands on the ring at `murmur3_128(worker id as i64, virtual node as i32)`, all little-endian, seed 0,
//! the first 8 bytes of the digest taken as a signed 64-bit number (Guava's `murmur3_128().putLong().putInt().asLong()`).
//! Attempt *n* of a block looks up `murmur3_128(block id, n)`: the first point at or above it, around the end to the
//! smallest. Candidates are collected over at most 100 attempts, each worker once and each host once (read in the
//! source of `goosefs-sdk`, whose golden vectors the tests repeat).
//!
//! Pure: built from the set of workers, never changed. Build a new one only when the set changes.

use crate::id::{BlockId, WorkerId};

/// Points on the ring of a worker that does not say how many it wants
/// (`goosefs.master.consistent.hash.virtual.node.num.per.worker`).
pub const DEFAULT_VIRTUAL_NODES: u32 = 5000;

/// Lookups a block gets before its list of candidates ends (`goosefs.user.client.hash.policy.max.attempt`).
pub const MAX_ATTEMPTS: i32 = 100;

/// A worker as the ring sees it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Member {
    /// Its id.
    pub worker: WorkerId,
    /// Its host; of workers on one host a block has one candidate. An empty host is not compared.
    pub host: String,
    /// Points on the ring; 0 stands for [`DEFAULT_VIRTUAL_NODES`].
    pub virtual_nodes: u32,
}

/// The ring of one set of workers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ring {
    members: Vec<Member>,
    /// The hosts' numbers by member; `NO_HOST` for an empty one.
    hosts: Vec<u32>,
    /// Where the points are, ascending, and apart from that the members they belong to: a lookup touches the first only.
    points: Vec<i64>,
    owners: Vec<u32>,
}

const NO_HOST: u32 = u32::MAX;

impl Ring {
    /// The ring of `members`, in whatever order they come.
    #[must_use]
    pub fn new(members: impl IntoIterator<Item = Member>) -> Ring {
        let mut members: Vec<Member> = members.into_iter().collect();
        members.sort_unstable();
        members.dedup_by_key(|member| member.worker);
        let hosts = number_hosts(&members);
        let mut pairs: Vec<(i64, u32)> = Vec::new();
        for (index, member) in members.iter().enumerate() {
            let index = u32::try_from(index).unwrap_or(NO_HOST);
            let count = if member.virtual_nodes == 0 { DEFAULT_VIRTUAL_NODES } else { member.virtual_nodes };
            let count = i32::try_from(count).unwrap_or(i32::MAX);
            pairs.extend((0..count).map(|node| (hash(member.worker.0, node), index)));
        }
        pairs.sort_unstable();
        let (points, owners) = pairs.into_iter().unzip();
        Ring { members, hosts, points, owners }
    }

    /// Who is on the ring, by id.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Whether no worker is on the ring.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The worker a block belongs to; `None` when the ring is empty.
    #[must_use]
    pub fn owner(&self, block: BlockId) -> Option<WorkerId> {
        self.at(block, 0).map(|index| self.members[index].worker)
    }

    /// Up to `count` workers of different hosts for a block, the owner first.
    #[must_use]
    pub fn candidates(&self, block: BlockId, count: usize) -> Vec<WorkerId> {
        self.candidates_where(block, count, |_| true)
    }

    /// As [`Ring::candidates`], passing over workers that `usable` refuses; those do not use up their host.
    #[must_use]
    pub fn candidates_where(
        &self,
        block: BlockId,
        count: usize,
        usable: impl Fn(WorkerId) -> bool,
    ) -> Vec<WorkerId> {
        let mut chosen: Vec<usize> = Vec::with_capacity(count.min(self.members.len()));
        let mut seen: Vec<usize> = Vec::with_capacity(self.members.len().min(8));
        for attempt in 0..MAX_ATTEMPTS {
            if chosen.len() >= count || seen.len() >= self.members.len() {
                break;
            }
            let Some(index) = self.at(block, attempt) else { break };
            if !seen.contains(&index) {
                seen.push(index);
            }
            let host = self.hosts[index];
            let taken = |&other: &usize| other == index || (host != NO_HOST && self.hosts[other] == host);
            if !chosen.iter().any(taken) && usable(self.members[index].worker) {
                chosen.push(index);
            }
        }
        chosen.into_iter().map(|index| self.members[index].worker).collect()
    }

    /// The member at the first point at or above the hash of an attempt.
    fn at(&self, block: BlockId, attempt: i32) -> Option<usize> {
        let target = hash(block.0, attempt);
        let position = self.points.partition_point(|&point| point < target);
        let owner = self.owners.get(position).or_else(|| self.owners.first())?;
        Some(*owner as usize)
    }
}

/// A number for each different host.
fn number_hosts(members: &[Member]) -> Vec<u32> {
    let mut known = std::collections::BTreeMap::new();
    let number = |member: &Member| {
        if member.host.is_empty() {
            return NO_HOST;
        }
        let next = u32::try_from(known.len()).unwrap_or(NO_HOST);
        *known.entry(member.host.clone()).or_insert(next)
    };
    members.iter().map(number).collect()
}

/// The first half of MurmurHash3 x64 128 (seed 0) over the 12 bytes of a long and an int, little-endian.
fn hash(long: u64, int: i32) -> i64 {
    const C1: u64 = 0x87c3_7b91_1142_53d5;
    const C2: u64 = 0x4cf5_ad43_2745_937f;
    const LENGTH: u64 = 12;
    // 12 bytes are less than one block of 16, so everything is tail: 8 bytes for the first lane, 4 for the second.
    let second = u64::from(int.cast_unsigned());
    let mut h2 = second.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1) ^ LENGTH;
    let mut h1 = long.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2) ^ LENGTH;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    mix(h1).wrapping_add(mix(h2)).cast_signed()
}

fn mix(mut k: u64) -> u64 {
    k ^= k >> 33;
    k = k.wrapping_mul(0xff51_afd7_ed55_8ccd);
    k ^= k >> 33;
    k = k.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    k ^ (k >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `vectors.txt`, made by `vectors.py` with another implementation of the hash.
    fn vectors() -> (Vec<Member>, Vec<(BlockId, Vec<WorkerId>)>) {
        let (mut members, mut blocks) = (Vec::new(), Vec::new());
        for line in include_str!("vectors.txt").lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["worker", id, host, nodes] => members.push(Member {
                    worker: WorkerId(id.parse().unwrap()),
                    host: host.to_owned(),
                    virtual_nodes: nodes.parse().unwrap(),
                }),
                ["block", id, workers] => {
                    let workers = workers.split(',').map(|id| WorkerId(id.parse().unwrap())).collect();
                    blocks.push((BlockId(id.parse().unwrap()), workers));
                }
                _ => panic!("vectors.txt: {line}"),
            }
        }
        (members, blocks)
    }

    #[test]
    fn candidates_are_those_of_goosefs_clients() {
        let (members, blocks) = vectors();
        assert_eq!((members.len(), blocks.len()), (9, 200));
        let ring = Ring::new(members);
        for (block, expected) in blocks {
            assert_eq!(ring.candidates(block, 100), expected, "{block}");
            assert_eq!(ring.owner(block), expected.first().copied(), "{block}");
            assert_eq!(ring.candidates(block, 2), expected[..2], "{block}");
        }
    }

    #[test]
    fn the_order_in_which_workers_come_does_not_matter() {
        let (mut members, blocks) = vectors();
        let ring = Ring::new(members.clone());
        members.reverse();
        assert_eq!(Ring::new(members), ring);
        assert!(!blocks.is_empty());
    }

    #[test]
    fn a_worker_that_leaves_moves_its_own_blocks_only() {
        let (members, _) = vectors();
        let gone = members[2].worker;
        let before = Ring::new(members.clone());
        let after = Ring::new(members.into_iter().filter(|member| member.worker != gone));
        let mut moved = 0;
        for index in 0..2000 {
            let block = BlockId(index << 24);
            let owner = before.owner(block);
            if owner == Some(gone) {
                moved += 1;
                assert_ne!(after.owner(block), Some(gone));
            } else {
                assert_eq!(after.owner(block), owner, "{block}");
            }
        }
        assert!((100..600).contains(&moved), "about one in eight: {moved}");
    }

    #[test]
    fn a_worker_that_is_passed_over_leaves_its_host_to_another() {
        let member =
            |id, host: &str| Member { worker: WorkerId(id), host: host.to_owned(), virtual_nodes: 0 };
        let ring = Ring::new([member(1, "a"), member(2, "a"), member(3, "b")]);
        let block = BlockId(7 << 24);
        assert_eq!(ring.candidates(block, 9).len(), 2, "two hosts");
        for refused in 1..=3 {
            let left = ring.candidates_where(block, 9, |id| id != WorkerId(refused));
            assert_eq!(left.len(), if refused == 3 { 1 } else { 2 });
            assert!(!left.contains(&WorkerId(refused)));
        }
    }

    #[test]
    fn an_empty_ring_has_nobody() {
        let ring = Ring::default();
        assert_eq!((ring.owner(BlockId(1)), ring.candidates(BlockId(1), 3)), (None, Vec::new()));
    }

    #[test]
    fn the_hash_is_guavas() {
        // Golden vectors that `goosefs-sdk` tests itself against.
        for (long, int, expected) in [
            (1, 0, 8_673_688_779_682_957_586),
            (42, 7, 1_969_424_773_395_075_097),
            (100, 1, -8_854_681_018_154_386_345),
            (-1, 0, 7_097_917_686_268_154_775),
            (0, 0, -6_568_239_567_428_591_645),
            (85_429_583_872, 0, -5_867_849_384_608_515_022),
            (8_769_479_697_893_324_776, 0, -6_296_241_382_218_419_536_i64),
        ] {
            assert_eq!(hash(i64::cast_unsigned(long), int), expected, "({long}, {int})");
        }
    }
}
