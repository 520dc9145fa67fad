//! Directories that are made, and perhaps renamed or removed, once and then left alone.
//!
//! In the cells later operations wash away what an earlier one left undone in the under-storage. Here nothing does: what
//! lies there at the end is what each single side effect left, so one that was lost or done twice is seen.

use goosefs_client::Client;
use goosefs_core::id::InodeId;
use goosefs_core::{Error, Result};
use goosefs_harness::root;
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;

/// What is done to a name after it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    Nothing,
    Rename,
    Remove,
}

/// The folder of these directories, and what its clients were told.
pub(crate) struct Once {
    folder: InodeId,
    /// Names that must be there, or must not.
    told: Mutex<BTreeMap<String, bool>>,
}

impl Once {
    pub(crate) fn new(folder: InodeId) -> Once {
        Once { folder, told: Mutex::default() }
    }

    /// Makes `name` and does one thing more. What an error leaves open counts on neither side.
    pub(crate) async fn pass(&self, client: &Client, name: &str, random: &mut impl Rng) {
        let then = [Then::Nothing, Then::Rename, Then::Remove][random.random_range(0..3)];
        match self.steps(client, name, then).await {
            Ok(()) => {}
            Err(error) if error.code.retryable() => {}
            Err(error) => panic!("{name}, {then:?}: {error}"),
        }
    }

    async fn steps(&self, client: &Client, name: &str, then: Then) -> Result<()> {
        let (inodes, caller) = (client.inodes(), root());
        inodes.make_dir(self.folder, name, 0o755, &caller).await?;
        let renamed = format!("{name}-renamed");
        match then {
            Then::Nothing => {}
            Then::Rename => {
                let (from, to) = ((self.folder, name), (self.folder, renamed.as_str()));
                inodes.rename(from, to, true, &caller).await?;
                self.told.lock().unwrap().insert(renamed, true);
            }
            Then::Remove => inodes.remove_dir(self.folder, name, &caller).await?,
        }
        self.told.lock().unwrap().insert(name.to_owned(), matches!(then, Then::Nothing));
        Ok(())
    }

    /// The first difference between the namespace, the folder of the under-storage and what clients were told.
    pub(crate) async fn difference(&self, observer: &Client, stored: &Path) -> Result<Option<String>> {
        let named = self.names(observer).await?;
        let read = std::fs::read_dir(stored).map_err(|error| Error::io("list the under-storage", error))?;
        let stored: BTreeSet<String> =
            read.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        if let Some(name) = named.symmetric_difference(&stored).next() {
            return Ok(Some(format!(
                "{name}: in the namespace {}, in the under-storage {}",
                named.contains(name),
                stored.contains(name)
            )));
        }
        let told = self.told.lock().unwrap();
        let wrong = told.iter().find(|(name, there)| named.contains(*name) != **there);
        Ok(wrong.map(|(name, there)| format!("{name}: a client was told {there}, it is {}", !there)))
    }

    /// How many names clients know the end of.
    pub(crate) fn told(&self) -> usize {
        self.told.lock().unwrap().len()
    }

    async fn names(&self, observer: &Client) -> Result<BTreeSet<String>> {
        let (mut names, mut after) = (BTreeSet::new(), String::new());
        loop {
            let page = observer.inodes().read_dir(self.folder, &after, 0).await?;
            if let Some(last) = page.entries.last() {
                after.clone_from(&last.name);
            }
            names.extend(page.entries.into_iter().map(|entry| entry.name));
            if !page.more {
                return Ok(names);
            }
        }
    }
}
