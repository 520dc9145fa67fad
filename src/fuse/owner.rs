//! User and group names to numbers and back, as the system's databases say, remembered.
//!
//! A name that the system does not know but that is a number is that number (clients of other machines write those);
//! any other unknown name shows as the user who runs the mount. A number without a name is written as the number.
//! The databases may ask a network service, so a look-up of something new runs where it may block.

use nix::unistd::{Gid, Group, Uid, User};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;

/// Most names remembered of each kind; beyond that the memory starts anew.
const BOUND: usize = 10_000;

#[derive(Debug, Default)]
struct Memory {
    users: HashMap<String, u32>,
    groups: HashMap<String, u32>,
    user_names: HashMap<u32, String>,
    group_names: HashMap<u32, String>,
}

/// The names and numbers seen so far; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Owners {
    memory: Arc<RwLock<Memory>>,
}

impl Owners {
    /// The numbers of a user and a group.
    pub async fn numbers(&self, user: &str, group: &str) -> (u32, u32) {
        if let Some(known) = self.known_numbers(user, group) {
            return known;
        }
        let (user, group, memory) = (user.to_owned(), group.to_owned(), self.memory.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let uid = match User::from_name(&user) {
                Ok(Some(found)) => found.uid.as_raw(),
                _ => user.parse().unwrap_or_else(|_| Uid::effective().as_raw()),
            };
            let gid = match Group::from_name(&group) {
                Ok(Some(found)) => found.gid.as_raw(),
                _ => group.parse().unwrap_or_else(|_| Gid::effective().as_raw()),
            };
            let mut memory = memory.write();
            remember(&mut memory.users, user, uid);
            remember(&mut memory.groups, group, gid);
            (uid, gid)
        });
        asked.await.unwrap_or((Uid::effective().as_raw(), Gid::effective().as_raw()))
    }

    fn known_numbers(&self, user: &str, group: &str) -> Option<(u32, u32)> {
        let memory = self.memory.read();
        Some((*memory.users.get(user)?, *memory.groups.get(group)?))
    }

    /// The names of a user and a group.
    pub async fn names(&self, uid: u32, gid: u32) -> (String, String) {
        if let Some(known) = self.known_names(uid, gid) {
            return known;
        }
        let memory = self.memory.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let user = match User::from_uid(Uid::from_raw(uid)) {
                Ok(Some(found)) => found.name,
                _ => uid.to_string(),
            };
            let group = match Group::from_gid(Gid::from_raw(gid)) {
                Ok(Some(found)) => found.name,
                _ => gid.to_string(),
            };
            let mut memory = memory.write();
            remember(&mut memory.user_names, uid, user.clone());
            remember(&mut memory.group_names, gid, group.clone());
            (user, group)
        });
        asked.await.unwrap_or_else(|_| (uid.to_string(), gid.to_string()))
    }

    fn known_names(&self, uid: u32, gid: u32) -> Option<(String, String)> {
        let memory = self.memory.read();
        Some((memory.user_names.get(&uid)?.clone(), memory.group_names.get(&gid)?.clone()))
    }
}

fn remember<K: std::hash::Hash + Eq, V>(map: &mut HashMap<K, V>, key: K, value: V) {
    if map.len() >= BOUND {
        map.clear();
    }
    map.insert(key, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn root_has_a_name_numbers_stay_numbers_and_strangers_are_ours() {
        let owners = Owners::default();
        assert_eq!(owners.numbers("root", "root").await, (0, 0));
        assert_eq!(owners.names(0, 0).await, ("root".to_owned(), "root".to_owned()));
        assert_eq!(owners.numbers("54321", "54322").await, (54321, 54322));
        assert_eq!(owners.names(54321, 54322).await, ("54321".to_owned(), "54322".to_owned()));
        assert_eq!(owners.numbers("no such user", "root").await.0, Uid::effective().as_raw());
        assert_eq!(owners.numbers("root", "root").await, (0, 0), "remembered");
    }
}
