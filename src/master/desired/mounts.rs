//! `mounts.json`: what shall be mounted, and with which options.
//!
//! Options hold keys and passwords, so they never go into the log, an image or a message: the mount table says of such a
//! mount which generation of the file made it, and whoever connects asks here. Every master follows the file, so that the
//! next leader has them.

use super::file::{Followed, LOOK};
use crate::namespace::MountPoint;
use goosefs_core::path::NsPath;
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use goosefs_ufs::secret;
use parking_lot::Mutex;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// One mount that there shall be.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Wanted {
    pub(crate) path: String,
    pub(crate) uri: String,
    #[serde(default)]
    pub(crate) read_only: bool,
    #[serde(default)]
    pub(crate) shared: bool,
    #[serde(default)]
    pub(crate) options: BTreeMap<String, String>,
}

/// Without the options' values.
impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Wanted { path, uri, read_only, shared, options } = self;
        let names: Vec<&String> = options.keys().collect();
        write!(f, "{uri} at {path} (read-only {read_only}, shared {shared}, options {names:?})")
    }
}

/// The file's own words.
#[derive(Deserialize)]
struct Said {
    generation: u64,
    mounts: Vec<Wanted>,
}

/// What the file says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Listed {
    /// Which version of the file it is, from 1.
    pub(crate) generation: u64,
    /// By path.
    pub(crate) mounts: BTreeMap<String, Wanted>,
    /// Entries that cannot be, by path, and why.
    pub(crate) wrong: BTreeMap<String, String>,
}

impl Listed {
    /// # Errors
    /// `InvalidArgument` saying where it cannot be understood, never with what is there: it may be a password.
    pub(super) fn parse(text: &str) -> Result<Listed> {
        let said: Said = serde_json::from_str(text).map_err(|error| {
            let (line, column, kind) = (error.line(), error.column(), error.classify());
            Error::new(Code::InvalidArgument, format!("line {line}, column {column}: {kind:?} error"))
        })?;
        if said.generation == 0 {
            return Err(Error::new(Code::InvalidArgument, "generation 0: they begin with 1"));
        }
        let mut listed = Listed { generation: said.generation, ..Listed::default() };
        for mut wanted in said.mounts {
            let path = match NsPath::parse(&wanted.path) {
                Ok(path) => path.to_string(),
                Err(error) => {
                    listed.wrong.insert(wanted.path, error.message);
                    continue;
                }
            };
            if wanted.uri.is_empty() {
                listed.wrong.insert(path, "it has no uri".to_owned());
                continue;
            }
            wanted.path.clone_from(&path);
            match listed.mounts.entry(path) {
                Entry::Vacant(free) => drop(free.insert(wanted)),
                Entry::Occupied(_) => {
                    let why = "the file has it twice; the first counts".to_owned();
                    listed.wrong.insert(wanted.path, why);
                }
            }
        }
        Ok(listed)
    }
}

/// What came of the file on the leader.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Outcome {
    /// Generation that the mount table was last compared with; 0 before, and where there is no file.
    pub(crate) generation: u64,
    /// What is not as that generation says, by path, and why.
    pub(crate) failures: BTreeMap<String, String>,
}

/// Options of one mount, by generation of the file.
type ByGeneration = BTreeMap<u64, BTreeMap<String, String>>;

/// The mounts file of a master, as everybody sees it.
pub(crate) struct Desired {
    file: Option<PathBuf>,
    listed: watch::Sender<Option<Arc<Listed>>>,
    /// Options by path, URI and generation: a mount goes on with those that it was made or changed with until it is changed
    /// again, which ones that its storage refuses never do.
    options: Mutex<BTreeMap<(String, String), ByGeneration>>,
    outcome: Mutex<Outcome>,
}

impl Desired {
    /// What `file` says, from a first look on; without one nothing is desired.
    pub(crate) async fn follow(file: Option<PathBuf>, tasks: &Tasks) -> Arc<Desired> {
        let desired = Arc::new(Desired {
            file: file.clone(),
            listed: watch::Sender::new(None),
            options: Mutex::default(),
            outcome: Mutex::default(),
        });
        let Some(file) = file else { return desired };
        let mut followed = Followed::new(&file);
        desired.take(followed.look(Listed::parse).await);
        let (of, stop) = (desired.clone(), tasks.stop());
        tasks.spawn("mounts-file", async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(LOOK) => of.take(followed.look(Listed::parse).await),
                }
            }
        });
        desired
    }

    fn take(&self, listed: Option<Listed>) {
        let Some(listed) = listed else { return };
        let mut options = self.options.lock();
        for wanted in listed.mounts.values() {
            let of_mount = options.entry((wanted.path.clone(), wanted.uri.clone())).or_default();
            of_mount.insert(listed.generation, wanted.options.clone());
        }
        drop(options);
        self.listed.send_replace(Some(Arc::new(listed)));
    }

    /// Lets go of options that no mount has that is there or listed; the latest that are known stand for those that are not.
    pub(super) fn keep_only(&self, listed: &Listed, table: &[MountPoint]) {
        let wanted = |path: &str, uri: &str| listed.mounts.get(path).is_some_and(|wanted| wanted.uri == uri);
        self.options.lock().retain(|(path, uri), of_mount| {
            let there = table.iter().find(|mount| mount.path == *path && mount.ufs == *uri);
            let latest = of_mount.last_key_value().map(|(generation, _)| *generation);
            let known = |generation: &u64| of_mount.contains_key(generation);
            let own =
                there.map(|mount| mount.generation).filter(known).or(latest.filter(|_| there.is_some()));
            let next = Some(listed.generation).filter(|_| wanted(path, uri));
            of_mount.retain(|generation, _| own == Some(*generation) || next == Some(*generation));
            !of_mount.is_empty()
        });
    }

    /// What the file said last, and every change of it.
    pub(super) fn listed(&self) -> watch::Receiver<Option<Arc<Listed>>> {
        self.listed.subscribe()
    }

    /// Whether there is a file to follow.
    pub(super) fn is_given(&self) -> bool {
        self.file.is_some()
    }

    /// What shall be mounted at `path`.
    pub(crate) fn at(&self, path: &str) -> Option<(u64, Wanted)> {
        let listed = self.listed.borrow().clone()?;
        Some((listed.generation, listed.mounts.get(path)?.clone()))
    }

    /// The options to connect `mount` with: those of its generation, else the latest that are known here.
    ///
    /// # Errors
    /// `Unavailable` when they are in the file alone, and this master's does not have them.
    pub(crate) fn options_of(&self, mount: &MountPoint) -> Result<BTreeMap<String, String>> {
        if mount.generation == 0 {
            return Ok(mount.options.clone());
        }
        let key = (mount.path.clone(), mount.ufs.clone());
        let all = self.options.lock();
        let of_mount = all.get(&key);
        let own = of_mount.and_then(|of_mount| of_mount.get(&mount.generation));
        let latest = || Some(of_mount?.last_key_value()?.1);
        own.or_else(latest).cloned().ok_or_else(|| {
            let file = match &self.file {
                Some(file) => format!("{}, which does not have them", file.display()),
                None => "a file, and goosefs.master.mounts.file is not set".to_owned(),
            };
            Error::new(Code::Unavailable, format!("the options of mount {} are in {file}", mount.path))
                .hint("give this master the file that lists the mount; or unmount it")
        })
    }

    /// As [`Desired::options_of`], as they may be told to anybody who asks: for credentials of the file, where they lie. Workers
    /// have the file at the same place.
    ///
    /// # Errors
    /// As [`Desired::options_of`].
    pub(crate) fn told_options_of(&self, mount: &MountPoint) -> Result<BTreeMap<String, String>> {
        let options = self.options_of(mount)?;
        Ok(match &self.file {
            Some(file) if mount.generation > 0 => secret::told(file, &mount.path, options),
            _ => options,
        })
    }

    /// # Errors
    /// `InvalidArgument` when the file says what is mounted at `path`: it would have its way again at once.
    pub(crate) fn check_free(&self, path: &str) -> Result<()> {
        let (Some(file), Some(_)) = (&self.file, self.at(path)) else { return Ok(()) };
        let file = file.display();
        Err(Error::new(Code::InvalidArgument, format!("{file} says what is mounted at {path}"))
            .hint("change it where that file comes from: in Kubernetes, the Dataset"))
    }

    pub(super) fn came_out(&self, outcome: Outcome) {
        *self.outcome.lock() = outcome;
    }

    /// What came of it while this master leads.
    pub(crate) fn outcome(&self) -> Outcome {
        self.outcome.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goosefs_core::id::{InodeId, MountId};

    const TEXT: &str = r#"{"generation":4,"mounts":[
        {"path":"/a/","uri":"s3://b/x","readOnly":true,"shared":false,"options":{"aws.secretKey":"hidden"}},
        {"path":"/a","uri":"s3://b/y","options":{}},
        {"path":"b","uri":"s3://b/y"},
        {"path":"/c","uri":""}]}"#;

    #[test]
    fn the_file_is_understood_and_what_cannot_be_is_named_by_path() {
        let listed = Listed::parse(TEXT).unwrap();
        assert_eq!(listed.generation, 4);
        assert_eq!(listed.mounts.keys().collect::<Vec<_>>(), ["/a"]);
        assert!(listed.mounts["/a"].read_only && listed.mounts["/a"].uri == "s3://b/x");
        assert_eq!(listed.wrong.keys().collect::<Vec<_>>(), ["/a", "/c", "b"]);
    }

    #[test]
    fn option_values_appear_in_no_message() {
        let listed = Listed::parse(TEXT).unwrap();
        assert!(!format!("{listed:?}").contains("hidden"), "{listed:?}");
        let typed = TEXT.replace("{\"aws.secretKey\":\"hidden\"}", "\"hidden\"");
        let error = Listed::parse(&typed).unwrap_err();
        assert!(error.message.contains("line 2") && !error.message.contains("hidden"), "{error}");
    }

    #[tokio::test]
    async fn options_are_those_of_the_file_and_go_with_the_mount() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mounts.json");
        std::fs::write(&file, TEXT).unwrap();
        let desired = Desired::follow(Some(file), &Tasks::new("test")).await;
        let mount = |path: &str, generation| MountPoint {
            id: MountId(2),
            root: InodeId(0),
            path: path.to_owned(),
            ufs: "s3://b/x".to_owned(),
            read_only: true,
            shared: false,
            options: BTreeMap::new(),
            generation,
        };
        assert_eq!(desired.options_of(&mount("/a", 4)).unwrap()["aws.secretKey"], "hidden");
        let told = desired.told_options_of(&mount("/a", 4)).unwrap();
        assert!(told["aws.secretKey"].starts_with("${mounts:"), "{told:?}");
        assert_eq!(desired.options_of(&mount("/a", 3)).unwrap()["aws.secretKey"], "hidden", "none are older");
        assert!(desired.options_of(&mount("/a", 0)).unwrap().is_empty(), "made by a person");
        assert_eq!(desired.options_of(&mount("/z", 4)).unwrap_err().code, Code::Unavailable);
        desired.check_free("/z").unwrap();
        assert!(desired.check_free("/a").unwrap_err().message.contains("mounts.json"));
        let other = TEXT.replace("\"generation\":4", "\"generation\":5").replace("hidden", "other");
        let listed = Listed::parse(&other).unwrap();
        desired.take(Some(listed.clone()));
        for table in [[mount("/a", 4)], [mount("/a", 5)]] {
            let with = if table[0].generation == 4 { "hidden" } else { "other" };
            desired.keep_only(&listed, &table);
            assert_eq!(desired.options_of(&table[0]).unwrap()["aws.secretKey"], with);
        }
        assert_eq!(
            desired.options_of(&mount("/a", 4)).unwrap()["aws.secretKey"],
            "other",
            "the old are gone"
        );
        let none = Listed::default();
        desired.keep_only(&none, &[mount("/a", 3)]);
        desired.options_of(&mount("/a", 3)).unwrap();
        desired.keep_only(&none, &[]);
        desired.options_of(&mount("/a", 4)).unwrap_err();
    }
}
