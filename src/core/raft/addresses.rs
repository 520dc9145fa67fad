//! Where the masters are: by slot, what peers and clients dial.
//!
//! Addresses change while Raft's membership does not (pods move, hosts are renamed), so they are kept beside it. A master
//! begins with its configuration, and learns the rest from the others (`acquaint`): each says where it is itself, and of
//! two places of a slot the one with the higher stamp counts. What was learned is kept in the data directory, so masters
//! that start with an old list still find each other. Nothing here decides who votes: every Raft message names the node
//! id it is for, and whoever is reached at a wrong address refuses it.

use crate::checksum::crc32c;
use crate::error::{Code, Error, Result};
use crate::proto::raft as wire;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

const VERSION: u32 = 1;

/// Where the master of one slot is.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Place {
    /// `host:port` of its Raft port.
    pub(super) raft: String,
    /// `host:port` that clients dial.
    pub(super) rpc: String,
    /// An operator took the slot out of the quorum.
    pub(super) removed: bool,
    /// The higher one counts; 0 for what a configuration says.
    stamp: u64,
}

/// The places of all slots.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Addresses {
    places: BTreeMap<u32, Place>,
}

impl Addresses {
    /// What a configuration says: `peers[slot]` and `rpc[slot]`.
    pub(super) fn configured(peers: &[String], rpc: &[String]) -> Addresses {
        let place = |(slot, raft): (u32, &String)| {
            let rpc = rpc.get(slot as usize).cloned().unwrap_or_default();
            (slot, Place { raft: raft.clone(), rpc, removed: false, stamp: 0 })
        };
        Addresses { places: (0..).zip(peers).map(place).collect() }
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Place> {
        self.places.get(&slot)
    }

    /// Slots that were not taken out.
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        self.places.iter().filter(|(_, place)| !place.removed).map(|(slot, _)| *slot)
    }

    /// Whether this was the Raft address of a slot that was taken out.
    pub(super) fn is_removed(&self, raft: &str) -> bool {
        self.places.values().any(|place| place.removed && place.raft == raft)
    }

    /// What a list that changes says now: slots it gained are known, and those that nobody has said more of are where it
    /// says. With `only`, what it lost is forgotten, too. Says whether anything changed.
    pub(super) fn follow(&mut self, peers: &[String], rpc: &[String], only: bool) -> bool {
        let before = self.clone();
        let listed = Addresses::configured(peers, rpc).places;
        self.places.retain(|slot, place| place.stamp > 0 || !only || listed.contains_key(slot));
        for (slot, place) in listed {
            if self.get(slot).is_none_or(|known| known.stamp == 0) {
                self.places.insert(slot, place);
            }
        }
        *self != before
    }

    /// Takes over what is newer in `others`; says whether anything was. What stems from another's configuration never is:
    /// which slots there are is for our own configuration, the leader and operators to say.
    pub(super) fn merge(&mut self, others: &Addresses) -> bool {
        let newer = |(slot, theirs): &(&u32, &Place)| {
            theirs.stamp > self.places.get(slot).map_or(0, |ours| ours.stamp)
        };
        let news: Vec<(u32, Place)> =
            others.places.iter().filter(newer).map(|(slot, place)| (*slot, place.clone())).collect();
        let changed = !news.is_empty();
        self.places.extend(news);
        changed
    }

    /// The master of `slot` is here, as it says itself or an operator does; says whether that is news.
    pub(super) fn put(&mut self, slot: u32, raft: &str, rpc: &str, removed: bool, now_ms: u64) -> bool {
        let place = self.places.entry(slot).or_default();
        if place.raft == raft && place.rpc == rpc && place.removed == removed {
            return false;
        }
        let stamp = now_ms.max(place.stamp + 1);
        *place = Place { raft: raft.to_owned(), rpc: rpc.to_owned(), removed, stamp };
        true
    }

    /// Where we say `slot` is, `theirs` must hear of: says whether that takes a new stamp.
    pub(super) fn insist(&mut self, slot: u32, theirs: &Addresses, now_ms: u64) -> bool {
        let (Some(ours), Some(theirs)) = (self.places.get_mut(&slot), theirs.get(slot)) else { return false };
        if (&ours.raft, &ours.rpc) == (&theirs.raft, &theirs.rpc) || ours.stamp > theirs.stamp {
            return false;
        }
        ours.stamp = now_ms.max(theirs.stamp + 1);
        true
    }

    /// The slot is no longer one, or one again.
    pub(super) fn set_removed(&mut self, slot: u32, removed: bool, now_ms: u64) -> bool {
        let Some(place) = self.places.get(&slot).cloned() else { return false };
        self.put(slot, &place.raft, &place.rpc, removed, now_ms)
    }

    pub(super) fn to_wire(&self) -> Vec<wire::Address> {
        self.places.iter().map(|(slot, place)| address_to_wire(*slot, place)).collect()
    }

    pub(super) fn from_wire(addresses: &[wire::Address]) -> Addresses {
        Addresses { places: addresses.iter().filter_map(address_from_wire).collect() }
    }

    fn to_text(&self) -> String {
        let mut text = format!("version={VERSION}\n");
        for (slot, place) in &self.places {
            let state = if place.removed { "removed" } else { "member" };
            text += &format!("{slot} {} {} {state} {}\n", place.raft, place.rpc, place.stamp);
        }
        let crc = crc32c(text.as_bytes());
        text + &format!("crc32c={crc:08x}\n")
    }

    fn parse(text: &str) -> Option<Addresses> {
        let (body, crc) = text.trim_end().rsplit_once("crc32c=")?;
        let mut lines = body.lines();
        if u32::from_str_radix(crc, 16).ok()? != crc32c(body.as_bytes())
            || lines.next()? != format!("version={VERSION}")
        {
            return None;
        }
        let place = |line: &str| {
            let mut words = line.split(' ');
            let slot = words.next()?.parse().ok()?;
            let (raft, rpc) = (words.next()?.to_owned(), words.next()?.to_owned());
            let removed = words.next()? == "removed";
            Some((slot, Place { raft, rpc, removed, stamp: words.next()?.parse().ok()? }))
        };
        Some(Addresses { places: lines.map(place).collect::<Option<_>>()? })
    }

    /// Reads what [`Addresses::save`] kept; empty when there is nothing.
    ///
    /// # Errors
    /// `Corrupt` when the file cannot be understood, I/O errors.
    pub(super) fn load(path: &Path) -> Result<Addresses> {
        match std::fs::read_to_string(path) {
            Ok(text) => Addresses::parse(&text).ok_or_else(|| {
                Error::new(Code::Corrupt, format!("{} cannot be understood", path.display()))
                    .hint("remove it: the master then goes by its configuration and learns the rest from the others")
            }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Addresses::default()),
            Err(e) => Err(Error::io(format!("read {}", path.display()), e)),
        }
    }

    /// Replaces the file at `path`, durably. Blocking.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        super::identity::write_aside(path, self.to_text().as_bytes())
            .map_err(|e| Error::io(format!("write {}", path.display()), e))
    }
}

pub(super) fn address_to_wire(slot: u32, place: &Place) -> wire::Address {
    wire::Address {
        slot,
        raft: place.raft.clone(),
        rpc: place.rpc.clone(),
        stamp: place.stamp,
        removed: place.removed,
    }
}

/// A place without an address, or with one that would not survive the file, is none.
fn address_from_wire(address: &wire::Address) -> Option<(u32, Place)> {
    let fits = |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    let place = Place {
        raft: address.raft.clone(),
        rpc: address.rpc.clone(),
        removed: address.removed,
        stamp: address.stamp,
    };
    (fits(&address.raft) && fits(&address.rpc)).then_some((address.slot, place))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Addresses {
        let list = |port: u16| (0..3).map(|slot| format!("m{slot}:{port}")).collect::<Vec<_>>();
        Addresses::configured(&list(9202), &list(9200))
    }

    #[test]
    fn what_a_master_says_of_itself_wins_over_what_others_were_configured_with() {
        let (mut moved, mut other) = (three(), three());
        assert!(moved.put(1, "new:9202", "new:9200", false, 5000));
        assert!(!moved.put(1, "new:9202", "new:9200", false, 6000), "it is no news");
        assert!(other.merge(&moved));
        assert!(!other.merge(&moved));
        assert_eq!(other, moved);
        // A clock that runs behind does not make it older.
        assert!(moved.put(1, "newer:9202", "newer:9200", false, 1000));
        assert!(other.merge(&moved));
        assert_eq!(other.get(1).unwrap().raft, "newer:9202");
    }

    #[test]
    fn a_master_insists_on_where_it_is_until_the_others_know() {
        let mut other = three();
        let list = ["m0:9202", "new:9202", "m2:9202"].map(str::to_owned);
        let mut moved = Addresses::configured(&list, &list);
        assert!(!other.merge(&moved), "a configuration is no news");
        assert!(moved.insist(1, &other, 50));
        assert!(!moved.insist(1, &other, 60));
        assert!(other.merge(&moved));
        assert!(!moved.insist(1, &other, 70));
        assert_eq!(other.get(1).unwrap().raft, "new:9202");
    }

    #[test]
    fn a_slot_that_was_taken_out_stays_out_until_it_is_taken_in() {
        let (mut leader, mut other) = (three(), three());
        assert!(leader.set_removed(2, true, 10));
        assert!(other.merge(&leader));
        assert_eq!(other.slots().collect::<Vec<_>>(), [0, 1]);
        assert!(!other.merge(&three()), "a configuration does not bring it back");
        assert!(leader.put(2, "m2:9202", "m2:9200", false, 20));
        assert!(other.merge(&leader));
        assert_eq!(other.slots().count(), 3);
    }

    #[test]
    fn a_list_that_changes_adds_slots_and_moves_those_that_nobody_said_more_of() {
        let list = |count: u16| (0..count).map(|slot| format!("n{slot}:9202")).collect::<Vec<_>>();
        let mut known = three();
        known.put(1, "self:9202", "self:9200", false, 5);
        assert!(known.follow(&list(5), &list(5), false));
        assert!(!known.follow(&list(5), &list(5), false));
        let raft: Vec<&str> = (0..5).map(|slot| known.get(slot).unwrap().raft.as_str()).collect();
        assert_eq!(raft, ["n0:9202", "self:9202", "n2:9202", "n3:9202", "n4:9202"]);
        assert!(!known.follow(&list(1), &list(1), false), "who votes is not forgotten");
        assert!(known.follow(&list(1), &list(1), true));
        assert_eq!(known.slots().collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn places_merge_to_the_same_in_any_order() {
        let (mut a, mut b, mut c) = (three(), three(), three());
        a.put(0, "a:1", "a:2", false, 7);
        b.put(3, "b:1", "b:2", false, 9);
        c.set_removed(1, true, 8);
        let mut forward = three();
        let mut backward = three();
        for part in [&a, &b, &c] {
            forward.merge(part);
        }
        for part in [&c, &b, &a] {
            backward.merge(part);
        }
        assert_eq!(forward, backward);
        assert_eq!(Addresses::from_wire(&forward.to_wire()), forward);
    }

    #[test]
    fn places_survive_their_file_and_damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("addresses");
        assert_eq!(Addresses::load(&path).unwrap(), Addresses::default());
        let mut kept = three();
        kept.set_removed(1, true, 8);
        kept.put(4, "b:1", "b:2", false, 9);
        kept.save(&path).unwrap();
        assert_eq!(Addresses::load(&path).unwrap(), kept);
        let text = std::fs::read_to_string(&path).unwrap().replace("m0", "x0");
        std::fs::write(&path, text).unwrap();
        let error = Addresses::load(&path).unwrap_err();
        assert!(error.code == Code::Corrupt && error.message.contains("addresses"), "{error}");
    }

    #[test]
    fn what_is_no_address_is_not_taken_from_a_peer() {
        let wire = |raft: &str| wire::Address {
            slot: 7,
            raft: raft.into(),
            rpc: "a:1".into(),
            stamp: 9,
            removed: false,
        };
        for raft in ["", "a b:1", "a:1\nb"] {
            assert_eq!(Addresses::from_wire(&[wire(raft)]), Addresses::default(), "{raft}");
        }
    }
}
