//! From a user's name to its primary group, as this machine knows it.

use crate::proto::internal::Caller;
use nix::unistd::{Gid, Group, Uid, User};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A group is looked up again after so long.
const FRESH: Duration = Duration::from_secs(60);

/// So many users are remembered; the names come from clients.
const REMEMBERED: usize = 10_000;

/// Callers by user name.
#[derive(Debug)]
pub(super) struct Users {
    own: Caller,
    known: Mutex<HashMap<String, (Instant, Caller)>>,
}

impl Users {
    pub(super) fn new() -> Users {
        Users { own: own(), known: Mutex::default() }
    }

    /// The user this process runs as.
    pub(super) fn own(&self) -> Caller {
        self.own.clone()
    }

    /// The caller with this user name, if it was looked up lately.
    pub(super) fn known(&self, user: &str) -> Option<Caller> {
        let known = self.known.lock();
        known.get(user).filter(|(at, _)| at.elapsed() < FRESH).map(|(_, caller)| caller.clone())
    }

    /// The caller with this user name; the directory of users may be remote, so it is asked on a thread that may block. A
    /// user who is not known here has a group of the same name.
    pub(super) async fn caller(&self, user: String) -> Caller {
        if let Some(caller) = self.known(&user) {
            return caller;
        }
        let name = user.clone();
        let looked_up = tokio::task::spawn_blocking(move || primary_group(&name)).await;
        let group = looked_up.ok().flatten().unwrap_or_else(|| user.clone());
        let caller = Caller { user: user.clone(), group };
        let mut known = self.known.lock();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(user, (Instant::now(), caller.clone()));
        caller
    }
}

fn primary_group(user: &str) -> Option<String> {
    let user = User::from_name(user).ok().flatten()?;
    Some(group_name(user.gid))
}

fn group_name(gid: Gid) -> String {
    Group::from_gid(gid).ok().flatten().map_or_else(|| gid.to_string(), |group| group.name)
}

fn own() -> Caller {
    let uid = Uid::effective();
    let user = User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    Caller { user, group: group_name(Gid::effective()) }
}
