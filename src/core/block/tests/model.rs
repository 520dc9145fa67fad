//! Random use against a small model. A cached page may go at any time, but what is here is right; an only copy is here
//! until it is let go of; no more than the quota is ever used.

use super::super::Pin;
use super::super::lease::{HandOut, Lease};
use super::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;

const QUOTA: u64 = 16 * PAGE;

/// Contents 1 to 6 are in the under-storage, 11 to 14 are written here.
const LENGTHS: [u64; 6] = [1, PAGE, BLOCK, BLOCK + 1, 3 * BLOCK, 2 * BLOCK + 12_345];

struct Model {
    dir: tempfile::TempDir,
    store: Option<Store>,
    clock: Arc<ManualClock>,
    rng: StdRng,
    /// Generation of every content.
    generations: BTreeMap<u64, u64>,
    /// Committed bytes of the only copies.
    held: BTreeMap<u64, u64>,
    pins: Vec<(Content, u64, Pin)>,
    leases: Vec<(u64, Lease)>,
}

impl Model {
    fn new(seed: u64) -> Model {
        let dir = tempfile::tempdir().unwrap();
        let (store, clock) = open(dir.path(), QUOTA);
        Model {
            dir,
            store: Some(store),
            clock,
            rng: StdRng::seed_from_u64(seed),
            generations: BTreeMap::new(),
            held: BTreeMap::new(),
            pins: Vec::new(),
            leases: Vec::new(),
        }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn stored(&mut self) -> Content {
        let number = self.rng.random_range(1..=6_u64);
        let generation = self.generations.get(&number).copied().unwrap_or(1);
        Content { generation, ..content(number, LENGTHS[number as usize - 1]) }
    }

    fn written(&mut self) -> Content {
        let number = self.rng.random_range(11..=14_u64);
        self.written_as(number)
    }

    fn written_as(&self, number: u64) -> Content {
        let generation = self.generations.get(&number).copied().unwrap_or(1);
        let length = self.held.get(&number).copied().unwrap_or_default();
        Content { generation, complete: false, length, ..content(number, 0) }
    }

    fn step(&mut self) {
        self.clock.advance(Duration::from_millis(self.rng.random_range(1..1000)));
        match self.rng.random_range(0..100) {
            0..35 => {
                let content = self.stored();
                let index = self.rng.random_range(0..content.blocks());
                let page = self.rng.random_range(0..content.block_len(index).div_ceil(PAGE)) as u32;
                if !right_if_here(self.store(), &content, index, page)
                    && fill(self.store(), &content, index, page)
                {
                    assert!(
                        right_if_here(self.store(), &content, index, page)
                            || self.store().content_bytes(content.id) == 0
                    );
                }
            }
            35..55 => self.append(),
            55..60 => {
                let content = self.written();
                if self.held.remove(&content.id.container().0).is_some() {
                    self.store().persisted(content.id, content.generation).unwrap();
                    // It is never written again in this generation: the model forgets its bytes with it.
                    self.truncate(&content);
                }
            }
            60..65 => {
                let content = if self.rng.random() { self.stored() } else { self.written() };
                self.held.remove(&content.id.container().0);
                self.truncate(&content);
            }
            65..68 => {
                let content = self.stored();
                self.store().drop_content(content.id, false).unwrap();
            }
            68..71 => {
                let content = self.written();
                self.store().drop_content(content.id, false).unwrap();
            }
            71..75 => drop(self.store().evict().unwrap()),
            75..80 => {
                let content = self.stored();
                let index = self.rng.random_range(0..content.blocks());
                if let Some(pin) = self.store().pin(content.id.block(index), Some(content.generation)) {
                    self.pins.push((content, index, pin));
                }
            }
            80..86 => {
                if !self.pins.is_empty() {
                    let at = self.rng.random_range(0..self.pins.len());
                    self.pins.swap_remove(at);
                }
            }
            86..90 => {
                let content = self.stored();
                let handed = self.store().hand_out(content.id, content.generation, content.length).unwrap();
                if let HandOut::Ready { file, lease, .. } = handed {
                    let file = std::fs::File::from(file);
                    let number = content.id.container().0;
                    let got = super::super::container::read_exact(&file, 0, content.length as usize).unwrap();
                    assert!(
                        got == text(number, content.generation, 0, content.length),
                        "handed out wrong bytes"
                    );
                    self.leases.push((number, lease));
                }
            }
            90..94 => {
                if !self.leases.is_empty() {
                    let at = self.rng.random_range(0..self.leases.len());
                    self.leases.swap_remove(at);
                }
            }
            94..97 => self.store().tick(),
            _ => self.restart(),
        }
    }

    fn append(&mut self) {
        let content = self.written();
        let number = content.id.container().0;
        let end = self.held.get(&number).copied().unwrap_or_default();
        let (index, offset) = (end / BLOCK, end % BLOCK);
        let most = (BLOCK - offset).min(PAGE + PAGE / 2);
        let length = self.rng.random_range(1..=most);
        match write(self.store(), &content, index, offset, length) {
            Ok(()) => drop(self.held.insert(number, end + length)),
            Err(error) => assert_eq!(error.code, crate::Code::NoSpace, "{error}"),
        }
    }

    fn truncate(&mut self, content: &Content) {
        let number = content.id.container().0;
        let generation = content.generation + 1;
        self.generations.insert(number, generation);
        self.store().truncated(content.id, generation).unwrap();
        assert_eq!(self.store().content_bytes(content.id), 0);
    }

    fn restart(&mut self) {
        self.pins.clear();
        self.leases.clear();
        let store = self.store.take().unwrap();
        if self.rng.random() {
            store.close().unwrap();
        }
        drop(store);
        let config = config(self.dir.path(), QUOTA);
        self.store = Some(Store::open(&config, self.clock.clone()).unwrap());
        assert_eq!(self.store().opening().lost, []);
    }

    fn check(&self) {
        let store = self.store();
        let usage = store.usage();
        assert!(used(store) <= QUOTA, "{} of {QUOTA} used", used(store));
        let on_disk = disk_space(self.dir.path());
        assert!(on_disk <= used(store), "{on_disk} on disk, {} counted", used(store));
        for (number, length) in &self.held {
            let content = self.written_as(*number);
            assert_eq!(store.content_bytes(content.id), *length, "only copy {number}");
        }
        let held: u64 = self.held.values().map(|length| length.next_multiple_of(4096)).sum();
        assert!(usage.held >= held, "{} held, not {held}", usage.held);
        for (number, _) in &self.leases {
            let id = content(*number, 0).id;
            let _truncated_or_whole = store.content_bytes(id);
        }
        for (content, index, pin) in &self.pins {
            let page = 0;
            if let Ok(PageRead::Bytes(bytes)) = pin.read(0, PAGE as usize) {
                assert!(bytes == page_text(content, *index, page), "a pinned page changed");
            }
        }
    }

    fn check_only_copies(&self) {
        for (number, length) in &self.held {
            let content = self.written_as(*number);
            let mut at = 0;
            while at < *length {
                let bytes = read(self.store(), &content, at / BLOCK, (at % BLOCK / PAGE) as u32).unwrap();
                let bytes = bytes.unwrap_or_else(|| panic!("only copy {number} has nothing at {at}"));
                assert!(
                    bytes == text(*number, content.generation, at, bytes.len() as u64),
                    "at {at} of {number}"
                );
                at += bytes.len() as u64;
            }
        }
    }
}

#[test]
fn random_use_keeps_every_promise() {
    let seed: u64 = match std::env::var("GOOSEFS_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => rand::random(),
    };
    println!("GOOSEFS_SEED={seed}");
    let mut model = Model::new(seed);
    for step in 0..250 {
        model.step();
        model.check();
        if step % 20 == 0 {
            model.check_only_copies();
        }
    }
    model.check_only_copies();
}
