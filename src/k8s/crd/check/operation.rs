//! What a DataLoad or DataBackup must keep.

use super::Violation;
use crate::crd::{DataBackup, DataLoad, OperationKind, OperationRef, Place, Policy, Schedule};
use kube::ResourceExt;

/// What is wrong with a DataLoad.
#[must_use]
pub fn load(load: &DataLoad) -> Vec<Violation> {
    let (spec, mut found) = (&load.spec, Vec::new());
    found.extend(dataset("spec.dataset.name", &spec.dataset.name));
    let namespace = load.namespace().unwrap_or_default();
    if let Some(other) = spec.dataset.namespace.as_ref().filter(|other| !other.is_empty())
        && *other != namespace
    {
        let message = format!("is {other}, but a DataLoad loads Datasets of its own namespace, {namespace}");
        found.push(Violation::new("spec.dataset.namespace", message));
    }
    for (number, target) in spec.target.iter().enumerate() {
        let field = format!("spec.target[{number}]");
        if !target.path.starts_with('/') || target.path.split('/').any(|part| part == "..") {
            let message = format!("\"{}\" must be an absolute path without ..", target.path);
            found.push(Violation::new(format!("{field}.path"), message));
        }
        if target.replicas.is_some_and(|replicas| replicas < 0) {
            found.push(Violation::new(format!("{field}.replicas"), "must not be negative"));
        }
    }
    if let Some(text) = spec.options.get("expireTime")
        && text.parse::<u64>().is_err()
    {
        let message = format!("\"{text}\" must be a number of milliseconds");
        found.push(Violation::new("spec.options.expireTime", message));
    }
    if let Some(text) = spec.options.get("bandwidth")
        && goosefs_core::config::value::size(text).is_none()
    {
        let message = format!("\"{text}\" must be a size for each second, as 100MB");
        found.push(Violation::new("spec.options.bandwidth", message));
    }
    if spec.policy == Policy::Cron
        && let Err(error) = Schedule::parse(spec.schedule.as_deref().unwrap_or_default())
    {
        found.push(Violation::new("spec.schedule", error.to_string()));
    }
    found.extend(run_after(spec.run_after.as_ref(), OperationKind::DataLoad, load));
    found
}

/// What is wrong with a DataBackup.
#[must_use]
pub fn backup(backup: &DataBackup) -> Vec<Violation> {
    let (spec, mut found) = (&backup.spec, Vec::new());
    found.extend(dataset("spec.dataset", &spec.dataset));
    if let Err(error) = Place::parse(&spec.backup_path) {
        found.push(Violation::new("spec.backupPath", error.to_string()));
    }
    found.extend(spec.run_as.as_ref().map(super::run_as).unwrap_or_default());
    found.extend(run_after(spec.run_after.as_ref(), OperationKind::DataBackup, backup));
    found
}

fn dataset(field: &str, name: &str) -> Option<Violation> {
    name.is_empty().then(|| Violation::new(field, "must name a Dataset"))
}

fn run_after(
    before: Option<&OperationRef>,
    kind: OperationKind,
    own: &impl ResourceExt,
) -> Option<Violation> {
    let before = before?;
    let namespace = before.namespace.as_ref().filter(|namespace| !namespace.is_empty());
    let same_place = namespace.is_none_or(|namespace| Some(namespace) == own.namespace().as_ref());
    if before.kind == kind && before.name == own.name_any() && same_place {
        return Some(Violation::new("spec.runAfter", "names this operation itself"));
    }
    let known = matches!(before.kind, OperationKind::DataLoad | OperationKind::DataBackup);
    let unknown = || {
        let message =
            format!("{} must be DataLoad or DataBackup: GooseFS has no others", before.kind.as_str());
        Violation::new("spec.runAfter.kind", message)
    };
    (!known).then(unknown)
}
