//! What a Dataset or runtime must keep, said again in Rust: for objects that were stored before a rule was there, and for
//! rules that CEL cannot say (too costly, or about two objects).
//!
//! The reconcilers ask before they plan anything; what is found becomes a condition and an event.

mod operation;

pub use operation::{backup, load};

use super::quantity::bytes_of;
use super::tier::Level;
use super::{Component, Dataset, GooseFSRuntime, GooseFSRuntimeSpec, LONGEST_NAME, Place, RunAs};
use goosefs_core::config::check_given;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One thing that is wrong with an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which field, as `spec.master.replicas`.
    pub field: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl Violation {
    fn new(field: impl Into<String>, message: impl Into<String>) -> Violation {
        Violation { field: field.into(), message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// What is wrong with a runtime.
#[must_use]
pub fn runtime(runtime: &GooseFSRuntime) -> Vec<Violation> {
    let mut found = name(&runtime.name_any());
    found.extend(masters(&runtime.spec));
    for (number, level) in runtime.spec.tieredstore.iter().flat_map(|store| &store.levels).enumerate() {
        found.extend(tier(&format!("spec.tieredstore.levels[{number}]"), level));
    }
    found.extend(folders_once(&runtime.spec));
    found.extend(properties(&runtime.spec));
    found.extend(runtime.spec.run_as.as_ref().map(run_as).unwrap_or_default());
    if runtime.spec.replicas.is_some_and(|replicas| replicas < 0) {
        found.push(Violation::new("spec.replicas", "must not be negative"));
    }
    found
}

/// Properties that would keep pods from starting. A runtime with an image of its own may know others than this release.
fn properties(spec: &GooseFSRuntimeSpec) -> Vec<Violation> {
    let version = spec.goosefs_version.as_ref();
    if version.is_some_and(|version| version.image.is_some() || version.image_tag.is_some()) {
        return Vec::new();
    }
    let of = |part: &Option<Component>| part.as_ref().map(|part| part.properties.clone()).unwrap_or_default();
    let all = [
        ("spec.properties", spec.properties.clone()),
        ("spec.master.properties", of(&spec.master)),
        ("spec.worker.properties", of(&spec.worker)),
        ("spec.fuse.properties", spec.fuse.as_ref().map(|fuse| fuse.properties.clone()).unwrap_or_default()),
    ];
    let wrong = |(field, given): &(&str, BTreeMap<String, String>)| {
        check_given(given).err().map(|error| Violation::new(*field, error.to_string()))
    };
    all.iter().filter_map(wrong).collect()
}

/// What is wrong with a Dataset.
#[must_use]
pub fn dataset(dataset: &Dataset) -> Vec<Violation> {
    let mut found = name(&dataset.name_any());
    let mounts = &dataset.spec.mounts;
    if mounts.is_empty() {
        found.push(Violation::new("spec.mounts", "a Dataset needs at least one mount"));
    }
    let mut shown = BTreeSet::new();
    for (number, mount) in mounts.iter().enumerate() {
        let field = format!("spec.mounts[{number}]");
        if !mount.mount_point.contains("://") {
            let message = "must be a URI such as https://host/folder/ or cosn://bucket/path";
            found.push(Violation::new(format!("{field}.mountPoint"), message));
        }
        let path = mount.shown_at();
        if path.split('/').any(|part| part == ".." || part == ".") {
            found.push(Violation::new(format!("{field}.path"), format!("{path} must have no . or .. in it")));
        }
        if !shown.insert(path.clone()) {
            found.push(Violation::new(field, format!("another mount is shown at {path} already")));
        }
    }
    found.extend(restore(dataset));
    found
}

fn restore(dataset: &Dataset) -> Option<Violation> {
    let location = dataset.spec.data_restore_location.as_ref()?;
    let place = match Place::parse(location.path.as_ref()?) {
        Ok(place) => place,
        Err(error) => return Some(Violation::new("spec.dataRestoreLocation.path", error.to_string())),
    };
    let unnamed = location.node_name.as_ref().is_none_or(String::is_empty);
    let field = "spec.dataRestoreLocation.nodeName";
    (matches!(place, Place::Local { .. }) && unnamed)
        .then(|| Violation::new(field, "must name the node of a local backup"))
}

fn name(name: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    if name.len() > LONGEST_NAME {
        let message = format!("the name may have at most {LONGEST_NAME} characters, it has {}", name.len());
        found.push(Violation::new("metadata.name", message));
    }
    let letters = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    let ends = name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with('-');
    if !letters || !ends {
        let message = format!("\"{name}\" must begin with a letter and have only a-z, 0-9 and - in it");
        found.push(Violation::new("metadata.name", message));
    }
    found
}

fn masters(spec: &GooseFSRuntimeSpec) -> Vec<Violation> {
    let mut found = Vec::new();
    let replicas = spec.master.as_ref().and_then(|master| master.replicas).unwrap_or(1);
    if replicas < 1 || replicas % 2 == 0 {
        let message = format!("must be a positive odd number (1, 3, 5), it is {replicas}");
        found.push(Violation::new("spec.master.replicas", message));
    }
    let journal = spec.master.as_ref().and_then(|master| master.journal.as_ref());
    if let Some(Err(error)) = journal.and_then(|journal| journal.size.as_ref()).map(bytes_of) {
        found.push(Violation::new("spec.master.journal.size", error.to_string()));
    }
    found
}

fn tier(field: &str, level: &Level) -> Vec<Violation> {
    let mut found = Vec::new();
    let ratio = |name: &str, value: Option<&String>, found: &mut Vec<Violation>| {
        let parsed = value?.parse::<f64>().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        if parsed.is_none() {
            found.push(Violation::new(format!("{field}.{name}"), "must be a share between 0 and 1, as 0.8"));
        }
        parsed
    };
    let low = ratio("low", level.low.as_ref(), &mut found);
    let high = ratio("high", level.high.as_ref(), &mut found);
    if let (Some(low), Some(high)) = (low, high)
        && low >= high
    {
        found.push(Violation::new(format!("{field}.low"), format!("{low} must be less than high, {high}")));
    }
    let paths = level.paths();
    for path in &paths {
        let inside = path.starts_with('/') && path.len() > 1 && !path.split('/').any(|part| part == "..");
        if !inside {
            let message = format!("\"{path}\" must be an absolute folder without .. and not / itself");
            found.push(Violation::new(format!("{field}.path"), message));
        }
    }
    if let Some(Err(error)) = level.quota.as_ref().map(bytes_of) {
        found.push(Violation::new(format!("{field}.quota"), error.to_string()));
    }
    if let Some(list) = &level.quota_list {
        let quotas: Vec<&str> = list.split(',').collect();
        if quotas.len() != paths.len() {
            let message =
                format!("{} sizes for {} folders: one for each is needed", quotas.len(), paths.len());
            found.push(Violation::new(format!("{field}.quotaList"), message));
        }
        for quota in quotas {
            if let Err(error) = bytes_of(&Quantity(quota.to_owned())) {
                found.push(Violation::new(format!("{field}.quotaList"), error.to_string()));
            }
        }
    }
    found
}

/// Its names are lines of files, in which root is somebody else.
fn run_as(user: &RunAs) -> Vec<Violation> {
    let mut found = Vec::new();
    for (field, number) in [("uid", user.uid), ("gid", user.gid)] {
        if !(0..=i64::from(i32::MAX)).contains(&number) {
            let message = format!("{number} must not be negative, nor more than {}", i32::MAX);
            found.push(Violation::new(format!("spec.runAs.{field}"), message));
        }
    }
    for (field, name, number) in [("user", &user.user, user.uid), ("group", &user.group, user.gid)] {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.@-".contains(c);
        if name.is_empty()
            || name.len() > 64
            || name.starts_with(['.', '@', '-'])
            || !name.chars().all(allowed)
        {
            let message = format!("\"{name}\" must be a name of letters, digits and _ . @ -, at most 64");
            found.push(Violation::new(format!("spec.runAs.{field}"), message));
        } else if name == "root" && number != 0 {
            found.push(Violation::new(format!("spec.runAs.{field}"), format!("root is 0, not {number}")));
        }
    }
    found
}

/// A folder in two tiers would be counted twice.
fn folders_once(spec: &GooseFSRuntimeSpec) -> Vec<Violation> {
    let mut seen = BTreeSet::new();
    let folders = spec.tieredstore.iter().flat_map(|store| &store.levels).flat_map(Level::paths);
    let doubled = folders.filter(|folder| !seen.insert(folder.clone()));
    doubled.map(|folder| Violation::new("spec.tieredstore", format!("{folder} is named twice"))).collect()
}
