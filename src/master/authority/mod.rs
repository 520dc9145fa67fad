//! Who may do what: owner, group and mode of inodes, as POSIX reads them, and what only superusers may.
//!
//! The leader checks a call before it logs or answers it; what is logged is carried out. Superusers are the user who runs
//! the masters and the members of a group (`goosefs.security.authorization.permission.supergroup`). Callers are who they
//! say they are (SIMPLE): this keeps users from each other's files, not attackers out. Where masters have a control key
//! ([`goosefs_core::rpc::control`]), who administers them shows that he has it, too. With NOSASL nobody says who he is,
//! and with `goosefs.security.authorization.permission.enabled=false` nobody asks: then files are open to everybody.
//!
//! **Mounts.** The daemon of a mount calls for many users, and the kernel has asked owner, group and mode for each of them
//! (`default_permissions`, with all groups that the user has on that machine). So connections of mounts are not asked
//! again, which also keeps their calls as short as they were.
//!
//! Called by both faces of `service`. Files: `groups` knows the groups of users, `who` has the rules.

mod groups;
#[cfg(test)]
mod tests;
mod who;

pub(crate) use who::Who;

use crate::config::Config;
use goosefs_core::proto::internal::Caller;
use goosefs_core::rpc::control::Proof;
use goosefs_core::rpc::frame::Peer;
use goosefs_core::rpc::sasl::AuthType;
use groups::Groups;
use std::sync::Arc;

/// Reading, as in a mode.
pub(crate) const READ: u32 = 4;
/// Writing; of a directory making and removing entries.
pub(crate) const WRITE: u32 = 2;
/// Searching a directory.
pub(crate) const SEARCH: u32 = 1;

/// How the daemon of a mount introduces itself.
const MOUNT_ROLE: &str = "fuse";

/// Finds out what callers may.
pub(crate) struct Authority {
    /// Callers say who they are.
    named: bool,
    /// Files are guarded.
    guarded: bool,
    /// Who administers shows the control key.
    asks: bool,
    superuser: String,
    supergroup: String,
    /// Both, for people.
    superusers: Arc<str>,
    groups: Groups,
}

impl Authority {
    pub(crate) fn new(config: &Config) -> Authority {
        let named = match config.auth {
            AuthType::Simple => true,
            AuthType::NoSasl => false,
        };
        Authority {
            named,
            guarded: named && config.permissions,
            asks: config.control.is_some(),
            superuser: config.superuser.clone(),
            supergroup: config.supergroup.clone(),
            superusers: format!("user {} may, and group {}", config.superuser, config.supergroup).into(),
            groups: Groups::default(),
        }
    }

    /// What a caller of the GooseFS protocol may.
    pub(crate) async fn of_caller(&self, caller: &Caller) -> Who {
        if !self.named || caller.user == self.superuser {
            return Who::superuser();
        }
        let groups = self.groups.of(caller).await;
        self.of_member(caller, groups)
    }

    /// As [`Authority::of_caller`], for what is about the masters themselves.
    pub(crate) async fn of_administrator(&self, caller: &Caller, proof: Proof) -> Who {
        self.shown(self.of_caller(caller).await, proof)
    }

    fn shown(&self, who: Who, proof: Proof) -> Who {
        if self.asks && proof == Proof::Missing { who.without_proof() } else { who }
    }

    /// As [`Authority::of_peer`], if nothing has to be looked up for it.
    pub(crate) fn of_known_peer(&self, peer: &Peer) -> Option<Who> {
        if !self.guarded || peer.hello.role == MOUNT_ROLE {
            return Some(Who::superuser());
        }
        let caller = peer.hello.caller.as_ref()?;
        if caller.user == self.superuser {
            return Some(Who::superuser());
        }
        let groups = self.groups.known(&caller.user)?;
        Some(self.of_member(caller, groups))
    }

    fn of_member(&self, caller: &Caller, groups: Arc<[String]>) -> Who {
        if groups.contains(&self.supergroup) {
            return Who::superuser();
        }
        Who::user(caller.clone(), groups, self.superusers.clone(), !self.guarded)
    }

    /// What the other end of a framed connection may.
    pub(crate) async fn of_peer(&self, peer: &Peer) -> Who {
        let who = match &peer.hello.caller {
            _ if !self.guarded || peer.hello.role == MOUNT_ROLE => Who::superuser(),
            Some(caller) => self.of_caller(caller).await,
            None => self.of_caller(&Caller::default()).await,
        };
        self.shown(who, peer.proof())
    }
}
