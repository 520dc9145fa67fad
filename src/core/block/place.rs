//! Which directory takes a new block.
//!
//! Pure choice over a view of the directories; the store asks and then tries them in the order given.

use super::index::DirId;

/// What the choice needs to know of one directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// Which directory.
    pub dir: DirId,
    /// Its tier; 0 is the fastest.
    pub tier: usize,
    /// Bytes that still fit.
    pub free: u64,
    /// The container of the new block lies here.
    pub holds_container: bool,
}

/// Directories for a new block, best first: the one that holds its container, so that a file can be handed out whole;
/// then the fastest tier, and there the emptiest directory.
#[must_use]
pub fn order(mut rooms: Vec<Room>) -> Vec<DirId> {
    rooms.sort_by_key(|room| (!room.holds_container, room.tier, std::cmp::Reverse(room.free), room.dir));
    rooms.into_iter().map(|room| room.dir).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_stays_together_then_the_fastest_tier_then_the_emptiest_directory() {
        let room = |dir, tier, free| Room { dir: DirId(dir), tier, free, holds_container: dir == 3 };
        let rooms = vec![room(0, 0, 5), room(1, 0, 9), room(2, 1, 100), room(3, 1, 50)];
        assert_eq!(order(rooms), [DirId(3), DirId(1), DirId(0), DirId(2)]);
    }
}
