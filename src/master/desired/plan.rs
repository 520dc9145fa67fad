//! What is to be done so that the mount table is as the file says: plain, no I/O.
//!
//! Only mounts that the file has made are changed or unmounted for it. One that a person made stays, also where the file
//! wants another.

use super::mounts::{Listed, Wanted};
use crate::namespace::MountPoint;
use std::collections::{BTreeMap, BTreeSet};

/// What is to be done, in this order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Plan {
    /// Paths, what lies below others first.
    pub(super) unmount: Vec<String>,
    /// What lies above others first.
    pub(super) mount: Vec<Wanted>,
    /// Other flags, or another generation of the file.
    pub(super) update: Vec<Wanted>,
    /// What cannot be, by path, and why.
    pub(super) refused: BTreeMap<String, String>,
}

impl Plan {
    /// Nothing is to be done.
    pub(super) fn is_empty(&self) -> bool {
        self.unmount.is_empty() && self.mount.is_empty() && self.update.is_empty()
    }
}

/// The way from `table` to `listed`. What is in `held` is left as it is for now.
pub(super) fn plan(listed: &Listed, table: &[MountPoint], held: &BTreeSet<String>) -> Plan {
    let there: BTreeMap<&str, &MountPoint> = table.iter().map(|mount| (mount.path.as_str(), mount)).collect();
    let mut plan = Plan { refused: listed.wrong.clone(), ..Plan::default() };
    let mut fresh: Vec<&str> = Vec::new();
    for wanted in listed.mounts.values().filter(|wanted| !held.contains(&wanted.path)) {
        // A mount that comes anew below one that does is in its way.
        let moved = fresh.iter().any(|above| is_below(&wanted.path, above));
        match there.get(wanted.path.as_str()) {
            None => {
                fresh.push(&wanted.path);
                plan.mount.push(wanted.clone());
            }
            Some(mount) if mount.generation == 0 || (is_root(mount) && mount.ufs != wanted.uri) => {
                if let Some(why) = in_the_way(mount, wanted) {
                    plan.refused.insert(wanted.path.clone(), why);
                }
            }
            Some(mount) if mount.ufs != wanted.uri || moved => {
                fresh.push(&wanted.path);
                plan.unmount.push(wanted.path.clone());
                plan.mount.push(wanted.clone());
            }
            Some(mount) if differs(mount, wanted, listed.generation) => plan.update.push(wanted.clone()),
            Some(_) => {}
        }
    }
    let lost = table.iter().filter(|mount| mount.generation > 0 && !is_root(mount));
    let lost = lost.filter(|mount| !listed.mounts.contains_key(&mount.path) && !held.contains(&mount.path));
    plan.unmount.extend(lost.map(|mount| mount.path.clone()));
    plan.unmount.sort_unstable_by(|one, other| other.cmp(one));
    plan
}

fn differs(mount: &MountPoint, wanted: &Wanted, generation: u64) -> bool {
    (mount.read_only, mount.shared, mount.generation) != (wanted.read_only, wanted.shared, generation)
}

/// Why a mount that is not the file's keeps it from having its way, if it does.
fn in_the_way(mount: &MountPoint, wanted: &Wanted) -> Option<String> {
    if is_root(mount) {
        let same = mount.ufs == wanted.uri;
        return (!same).then(|| format!("the root keeps the storage that it was begun with, {}", mount.ufs));
    }
    let same = (&mount.ufs, mount.read_only, mount.shared, &mount.options)
        == (&wanted.uri, wanted.read_only, wanted.shared, &wanted.options);
    (!same).then(|| format!("{} was mounted there by hand with other settings: unmount it first", mount.ufs))
}

fn is_root(mount: &MountPoint) -> bool {
    mount.path == "/"
}

fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use goosefs_core::id::{InodeId, MountId};

    fn wanted(path: &str, uri: &str) -> Wanted {
        let (path, uri) = (path.to_owned(), uri.to_owned());
        Wanted { path, uri, read_only: false, shared: false, options: BTreeMap::new() }
    }

    fn listed(generation: u64, mounts: &[Wanted]) -> Listed {
        let mounts = mounts.iter().map(|wanted| (wanted.path.clone(), wanted.clone())).collect();
        Listed { generation, mounts, wrong: BTreeMap::new() }
    }

    /// `generation` 0: by a person.
    fn there(path: &str, uri: &str, generation: u64) -> MountPoint {
        MountPoint {
            id: MountId(2),
            root: InodeId(0),
            path: path.to_owned(),
            ufs: uri.to_owned(),
            read_only: false,
            shared: false,
            options: BTreeMap::new(),
            generation,
        }
    }

    /// `-/a` is unmounted, `+/a` mounted, `~/a` updated, `!/a` refused.
    fn steps(listed: &Listed, table: &[MountPoint], held: &[&str]) -> Vec<String> {
        let plan = plan(listed, table, &held.iter().map(|path| (*path).to_owned()).collect());
        let paths = |all: &[Wanted], sign: &str| -> Vec<String> {
            all.iter().map(|wanted| format!("{sign}{}", wanted.path)).collect()
        };
        let mut all: Vec<String> = plan.unmount.iter().map(|path| format!("-{path}")).collect();
        all.extend(paths(&plan.mount, "+"));
        all.extend(paths(&plan.update, "~"));
        all.extend(plan.refused.keys().map(|path| format!("!{path}")));
        all
    }

    #[test]
    fn what_is_missing_is_mounted_and_what_is_no_longer_listed_goes() {
        let table = [there("/", "u", 0), there("/a", "x", 1), there("/old", "x", 1)];
        let file = listed(2, &[wanted("/a", "x"), wanted("/b", "y")]);
        assert_eq!(steps(&file, &table, &[]), ["-/old", "+/b", "~/a"]);
        let done = [there("/", "u", 0), there("/a", "x", 2), there("/b", "y", 2)];
        assert!(plan(&file, &done, &BTreeSet::new()).is_empty());
    }

    #[test]
    fn mounts_of_persons_stay_listed_or_not() {
        let table = [there("/", "u", 0), there("/mine", "x", 0), there("/other", "x", 0)];
        assert_eq!(steps(&listed(1, &[]), &table, &[]), [""; 0]);
        let file = listed(1, &[wanted("/mine", "x"), wanted("/other", "y")]);
        assert_eq!(steps(&file, &table, &[]), ["!/other"]);
    }

    #[test]
    fn another_uri_is_mounted_anew_with_what_lies_below() {
        let table = [there("/a", "x", 1), there("/a/b", "y", 1), there("/ab", "z", 1)];
        let file = listed(1, &[wanted("/a", "other"), wanted("/a/b", "y"), wanted("/ab", "z")]);
        assert_eq!(steps(&file, &table, &[]), ["-/a/b", "-/a", "+/a", "+/a/b"]);
        assert_eq!(steps(&file, &table, &["/a"]), [""; 0], "one that is held holds nothing else up");
        // A mount comes between the root and another one.
        let file = listed(1, &[wanted("/a", "x"), wanted("/a/b", "y"), wanted("/ab", "z")]);
        assert_eq!(steps(&file, &table[1..], &[]), ["-/a/b", "+/a", "+/a/b"]);
    }

    #[test]
    fn flags_and_generations_are_updated_in_place() {
        let mut read_only = wanted("/a", "x");
        read_only.read_only = true;
        assert_eq!(steps(&listed(1, &[read_only]), &[there("/a", "x", 1)], &[]), ["~/a"]);
        assert_eq!(steps(&listed(3, &[wanted("/a", "x")]), &[there("/a", "x", 2)], &[]), ["~/a"]);
    }

    #[test]
    fn the_root_is_never_unmounted_and_keeps_its_storage() {
        assert_eq!(steps(&listed(2, &[]), &[there("/", "u", 1)], &[]), [""; 0]);
        assert_eq!(steps(&listed(2, &[wanted("/", "u")]), &[there("/", "u", 1)], &[]), ["~/"]);
        for generation in [0, 1] {
            assert_eq!(steps(&listed(2, &[wanted("/", "x")]), &[there("/", "u", generation)], &[]), ["!/"]);
        }
    }

    #[test]
    fn what_is_wrong_in_the_file_is_refused_by_path() {
        let mut file = listed(1, &[wanted("/a", "x")]);
        file.wrong.insert("b".to_owned(), "not absolute".to_owned());
        assert_eq!(steps(&file, &[], &[]), ["+/a", "!b"]);
    }
}
