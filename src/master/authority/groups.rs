//! The groups of users, as the masters' machines know them.

use goosefs_core::proto::internal::Caller;
use nix::unistd::{Group, User, getgrouplist};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::ffi::CString;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Groups are looked up again after so long.
const FRESH: Duration = Duration::from_secs(60);

/// So many users are remembered; the names come from clients.
const REMEMBERED: usize = 10_000;

/// What was looked up, and when.
struct Known {
    at: Instant,
    groups: Arc<[String]>,
}

/// Groups by user name.
#[derive(Default)]
pub(super) struct Groups {
    known: Mutex<HashMap<String, Known>>,
}

impl Groups {
    /// The groups of a user who was looked up lately.
    pub(super) fn known(&self, user: &str) -> Option<Arc<[String]>> {
        let known = self.known.lock();
        known.get(user).filter(|known| known.at.elapsed() < FRESH).map(|known| known.groups.clone())
    }

    /// The groups of a caller. Of one whom this machine does not know it is the group that the caller named.
    pub(super) async fn of(&self, caller: &Caller) -> Arc<[String]> {
        if let Some(groups) = self.known(&caller.user) {
            return groups;
        }
        // The directory of users may be remote.
        let user = caller.user.clone();
        let looked_up = tokio::task::spawn_blocking(move || look_up(&user)).await;
        let groups = match looked_up {
            Ok(Some(groups)) => groups,
            Ok(None) | Err(_) => vec![caller.group.clone()],
        };
        let groups: Arc<[String]> = groups.into();
        let mut known = self.known.lock();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(caller.user.clone(), Known { at: Instant::now(), groups: groups.clone() });
        groups
    }
}

fn look_up(user: &str) -> Option<Vec<String>> {
    let found = User::from_name(user).ok().flatten()?;
    let name = CString::new(user).ok()?;
    let ids = getgrouplist(&name, found.gid).unwrap_or_else(|_| vec![found.gid]);
    let named = |gid: nix::unistd::Gid| {
        Group::from_gid(gid).ok().flatten().map_or_else(|| gid.to_string(), |group| group.name)
    };
    Some(ids.into_iter().map(named).collect())
}
