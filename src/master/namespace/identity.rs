//! Who owns an inode and who may do what: the few combinations there are, stored once each.

use std::collections::HashMap;
use std::sync::Arc;

/// Owner, group and permission bits.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Identity {
    pub(super) owner: String,
    pub(super) group: String,
    pub(super) mode: u32,
}

/// Number of an [`Identity`] in [`Identities`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct IdentityId(pub(super) u32);

/// Every identity ever used, numbered in the order of first use. None is forgotten: there are few.
#[derive(Clone, Default)]
pub(super) struct Identities {
    all: Arc<Vec<Arc<Identity>>>,
    /// For finding only, never iterated.
    numbers: HashMap<Arc<Identity>, u32>,
}

impl Identities {
    pub(super) fn intern(&mut self, owner: &str, group: &str, mode: u32) -> IdentityId {
        let wanted = Identity { owner: owner.to_owned(), group: group.to_owned(), mode };
        if let Some(number) = self.numbers.get(&wanted) {
            return IdentityId(*number);
        }
        let number = self.all.len() as u32;
        let wanted = Arc::new(wanted);
        Arc::make_mut(&mut self.all).push(Arc::clone(&wanted));
        self.numbers.insert(wanted, number);
        IdentityId(number)
    }

    pub(super) fn get(&self, id: IdentityId) -> &Identity {
        &self.all[id.0 as usize]
    }

    /// All of them in the order of their numbers, shared with an image.
    pub(super) fn share(&self) -> Arc<Vec<Arc<Identity>>> {
        Arc::clone(&self.all)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}
