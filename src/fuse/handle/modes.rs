//! The kernel's rules of passthrough as a table of what is open how.
//!
//! Tried on 6.18 (`fs/fuse/iomode.c`, `passthrough.c`). An inode is in one of two families at a time:
//!
//! - while it is open by passthrough, every further open must carry the same backing id, else the open fails with EIO.
//!   Who needs the daemon meanwhile takes [`Way::Through`]: reads and writes come to the daemon, mmap the backing file;
//! - while it is open through the page cache, passthrough fails with EIO. A plain direct open whose file was mapped
//!   counts as the page cache too, and we cannot see whether it was mapped: so any plain direct open bars passthrough.
//!
//! What the kernel does not offer: an open by [`Way::Through`] cannot be kept from mapping the backing file. So while
//! somebody reads an older generation by passthrough, a new mapping (and a program that is started) has that generation,
//! whole; and who may write the file and maps it shared for writing writes the cached file itself. Both end with the last
//! open of the backing file.
//!
//! The kernel leaves a family when its last file is released, before it tells us. Until our count reaches zero we answer
//! as if the family were still in force, which is always allowed, as long as the backing id stays registered.

use super::Backing;
use std::collections::HashMap;
use std::sync::Arc;

/// What an open would like.
#[derive(Debug, Clone)]
pub enum Want {
    /// The kernel reads this file itself.
    Passthrough(Arc<Backing>),
    /// The page cache, filled by the daemon with this generation of the content.
    Cached {
        /// Which generation the opener shall read.
        generation: u64,
    },
    /// Every read and write comes to the daemon: files that are being written, or change under the reader.
    Direct,
}

/// What the kernel is told.
#[derive(Debug, Clone)]
pub enum Way {
    /// `FOPEN_PASSTHROUGH` with this id.
    Passthrough(Arc<Backing>),
    /// `FOPEN_DIRECT_IO | FOPEN_PASSTHROUGH` with this id: the daemon serves it though passthrough is in force.
    Through(Arc<Backing>),
    /// No flag, or `FOPEN_KEEP_CACHE`.
    Cached,
    /// `FOPEN_DIRECT_IO`.
    Direct,
}

impl Way {
    /// Name in metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Way::Passthrough(_) => "passthrough",
            Way::Through(_) => "through",
            Way::Cached => "cached",
            Way::Direct => "direct",
        }
    }

    /// Whether reads come to the daemon.
    #[must_use]
    pub fn reaches_daemon(&self) -> bool {
        !matches!(self, Way::Passthrough(_))
    }
}

#[derive(Debug, Default)]
struct Open {
    /// Set while anything is open by passthrough or through it.
    backing: Option<Arc<Backing>>,
    by_backing: u32,
    cached: u32,
    direct: u32,
}

/// What is open how, by FUSE node id.
#[derive(Debug, Default)]
pub struct Modes {
    nodes: HashMap<u64, Open>,
}

impl Modes {
    /// The backing file that every open of `node` must carry now.
    #[must_use]
    pub fn in_force(&self, node: u64) -> Option<&Arc<Backing>> {
        self.nodes.get(&node)?.backing.as_ref()
    }

    /// Whether a backing file would be of use to an open of `node`: nothing bars passthrough.
    #[must_use]
    pub fn passthrough_is_free(&self, node: u64) -> bool {
        !self.nodes.contains_key(&node)
    }

    /// Decides an open and counts it. [`Modes::close`] undoes it with the same way.
    pub fn open(&mut self, node: u64, want: Want) -> Way {
        let open = self.nodes.entry(node).or_default();
        if let Some(backing) = &open.backing {
            open.by_backing += 1;
            let backing = backing.clone();
            let same_bytes = match &want {
                Want::Passthrough(offered) => offered.generation() == backing.generation(),
                Want::Cached { generation } => *generation == backing.generation(),
                Want::Direct => false,
            };
            return if same_bytes { Way::Passthrough(backing) } else { Way::Through(backing) };
        }
        match want {
            Want::Passthrough(backing) if open.cached == 0 && open.direct == 0 => {
                open.by_backing = 1;
                open.backing = Some(backing.clone());
                Way::Passthrough(backing)
            }
            Want::Passthrough(_) | Want::Cached { .. } => {
                open.cached += 1;
                Way::Cached
            }
            Want::Direct => {
                open.direct += 1;
                Way::Direct
            }
        }
    }

    /// Counts an open that another process decided.
    pub fn adopt(&mut self, node: u64, way: &Way) {
        let open = self.nodes.entry(node).or_default();
        match way {
            Way::Passthrough(backing) | Way::Through(backing) => {
                open.by_backing += 1;
                open.backing = Some(backing.clone());
            }
            Way::Cached => open.cached += 1,
            Way::Direct => open.direct += 1,
        }
    }

    /// An open that was decided as `way` was released. Gives back the backing file when it was the last that used it: it
    /// may be kept for the next open.
    pub fn close(&mut self, node: u64, way: &Way) -> Option<Arc<Backing>> {
        let open = self.nodes.get_mut(&node)?;
        let mut free = None;
        match way {
            Way::Passthrough(_) | Way::Through(_) => {
                open.by_backing = open.by_backing.saturating_sub(1);
                if open.by_backing == 0 {
                    free = open.backing.take();
                }
            }
            Way::Cached => open.cached = open.cached.saturating_sub(1),
            Way::Direct => open.direct = open.direct.saturating_sub(1),
        }
        if open.by_backing == 0 && open.cached == 0 && open.direct == 0 {
            self.nodes.remove(&node);
        }
        free
    }

    /// Nodes that are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether nothing is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::FakeKernel;

    const CACHED: Want = Want::Cached { generation: 1 };
    const NODE: u64 = 7 << 24 | 0xFF_FFFF;

    fn offered(kernel: &Arc<FakeKernel>, generation: u64) -> Arc<Backing> {
        kernel.backing(generation, 10)
    }

    fn id_of(way: &Way) -> Option<u32> {
        match way {
            Way::Passthrough(backing) | Way::Through(backing) => Some(backing.id()),
            Way::Cached | Way::Direct => None,
        }
    }

    #[test]
    fn rule_a_a_second_passthrough_open_carries_the_first_id() {
        let kernel = FakeKernel::new();
        let mut modes = Modes::default();
        let first = modes.open(NODE, Want::Passthrough(offered(&kernel, 1)));
        let second = modes.open(NODE, Want::Passthrough(offered(&kernel, 1)));
        assert!(matches!(second, Way::Passthrough(_)));
        assert_eq!(id_of(&first), id_of(&second));
        assert_eq!(kernel.registered().len(), 1, "the id that was not needed is given up at once");
    }

    #[test]
    fn rule_a_an_open_that_needs_the_daemon_goes_through_the_id_in_force() {
        let kernel = FakeKernel::new();
        let mut modes = Modes::default();
        let first = modes.open(NODE, Want::Passthrough(offered(&kernel, 1)));
        let writer = modes.open(NODE, Want::Direct);
        assert!(matches!(writer, Way::Through(_)));
        assert_eq!(id_of(&first), id_of(&writer));
        let reader = modes.open(NODE, CACHED);
        assert!(matches!(reader, Way::Passthrough(_)), "the same bytes are there already");
    }

    #[test]
    fn rule_a_holds_until_the_last_of_the_family_is_closed() {
        let kernel = FakeKernel::new();
        let mut modes = Modes::default();
        let first = modes.open(NODE, Want::Passthrough(offered(&kernel, 1)));
        let writer = modes.open(NODE, Want::Direct);
        assert!(modes.close(NODE, &first).is_none(), "the writer still carries the id");
        let reader = modes.open(NODE, CACHED);
        assert_eq!(id_of(&reader), id_of(&writer));
        assert!(modes.close(NODE, &reader).is_none());
        let free = modes.close(NODE, &writer);
        assert!(free.is_some(), "the last close gives the file back to be kept");
        assert!(modes.is_empty());
        assert!(matches!(modes.open(NODE, CACHED), Way::Cached));
    }

    #[test]
    fn rule_b_no_passthrough_while_the_page_cache_is_in_use() {
        let kernel = FakeKernel::new();
        let mut modes = Modes::default();
        let cached = modes.open(NODE, CACHED);
        assert!(matches!(modes.open(NODE, Want::Direct), Way::Direct), "direct is fine beside the cache");
        let second = modes.open(NODE, Want::Passthrough(offered(&kernel, 1)));
        assert!(matches!(second, Way::Cached));
        assert!(kernel.registered().is_empty());
        modes.close(NODE, &cached);
        modes.close(NODE, &second);
        assert!(!modes.passthrough_is_free(NODE));
        modes.close(NODE, &Way::Direct);
        assert!(modes.passthrough_is_free(NODE));
        assert!(matches!(modes.open(NODE, Want::Passthrough(offered(&kernel, 1))), Way::Passthrough(_)));
    }

    #[test]
    fn rule_b_a_direct_open_bars_passthrough_because_it_may_be_mapped() {
        let kernel = FakeKernel::new();
        let mut modes = Modes::default();
        modes.open(NODE, Want::Direct);
        assert!(matches!(modes.open(NODE, Want::Passthrough(offered(&kernel, 1))), Way::Cached));
    }

    #[test]
    fn rule_d_after_a_truncation_nobody_new_reads_the_old_backing_file() {
        let kernel = FakeKernel::new();
        let mut modes = Modes::default();
        let old = modes.open(NODE, Want::Passthrough(offered(&kernel, 1)));
        let new = modes.open(NODE, Want::Cached { generation: 2 });
        assert!(matches!(new, Way::Through(_)));
        assert_eq!(id_of(&old), id_of(&new), "the kernel would refuse another id");
        modes.close(NODE, &old);
        let last = modes.close(NODE, &new).expect("free again");
        assert_eq!(last.generation(), 1, "who keeps it must look at its generation");
        drop((old, new, last));
        assert!(kernel.registered().is_empty());
        assert!(matches!(modes.open(NODE, Want::Passthrough(offered(&kernel, 2))), Way::Passthrough(_)));
    }

    #[test]
    fn an_offer_of_another_generation_is_not_mixed_with_the_one_in_force() {
        let kernel = FakeKernel::new();
        let mut modes = Modes::default();
        modes.open(NODE, Want::Passthrough(offered(&kernel, 1)));
        assert!(matches!(modes.open(NODE, Want::Passthrough(offered(&kernel, 2))), Way::Through(_)));
    }

    #[test]
    fn nodes_do_not_touch_each_other() {
        let kernel = FakeKernel::new();
        let mut modes = Modes::default();
        modes.open(NODE, CACHED);
        assert!(matches!(modes.open(NODE + 1, Want::Passthrough(offered(&kernel, 1))), Way::Passthrough(_)));
        assert_eq!(modes.len(), 2);
    }

    #[test]
    fn random_opens_never_break_a_rule_of_the_kernel() {
        let seed = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(1, |t| t.subsec_nanos().into());
        println!("seed {seed}");
        let mut state: u64 = seed | 1;
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let kernel = FakeKernel::new();
        let mut modes = Modes::default();
        let mut open: Vec<Way> = Vec::new();
        for _ in 0..20_000 {
            match random(5) {
                0 | 1 if !open.is_empty() => {
                    let index = usize::try_from(random(open.len() as u64)).expect("small");
                    let way = open.swap_remove(index);
                    drop(modes.close(NODE, &way));
                }
                2 => open.push(modes.open(NODE, Want::Passthrough(offered(&kernel, 1)))),
                3 => open.push(modes.open(NODE, CACHED)),
                _ => open.push(modes.open(NODE, Want::Direct)),
            }
            let ids: std::collections::BTreeSet<u32> = open.iter().filter_map(id_of).collect();
            let others = open.iter().filter(|way| id_of(way).is_none()).count();
            assert!(ids.len() <= 1, "two backing ids at once");
            assert!(ids.is_empty() || others == 0, "passthrough beside the page cache");
            assert!(ids.iter().all(|id| kernel.registered().contains(id)), "an id in use was given up");
        }
    }
}
