//! What is said of an operation: phases, conditions, figures, events. No I/O.

use super::super::phase::{percentage, set_condition, size};
use crate::crd::{Condition, OperationKind, OperationStatus};
use goosefs_core::proto::internal::{Preload, PreloadState};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Files that were not loaded and are named in the status.
const NAMED: usize = 5;

/// Why an operation does not go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Wait {
    /// A reason in one word, and a sentence.
    For(&'static str, String),
    /// It never will.
    Never(String),
}

/// A run that has not ended.
pub(super) fn is_under_way(status: &OperationStatus) -> bool {
    status.run.is_some() && !has_ended(status)
}

pub(super) fn executes(status: &OperationStatus) -> bool {
    status.phase.as_deref() == Some("Executing")
}

pub(super) fn has_ended(status: &OperationStatus) -> bool {
    matches!(status.phase.as_deref(), Some("Complete" | "Failed"))
}

/// When the last run ended.
pub(super) fn ended_at(status: &OperationStatus) -> Option<Timestamp> {
    let end = status
        .conditions
        .iter()
        .find(|one| matches!(one.type_.as_str(), "Complete" | "Failed") && one.status == "True")?;
    end.last_transition_time.as_ref().map(|time| time.0)
}

/// Nothing was done yet.
pub(super) fn wait_first(status: &mut OperationStatus) {
    status.phase = Some("Pending".to_owned());
    status.duration = Some("Unfinished".to_owned());
}

pub(super) fn waits(status: &mut OperationStatus, reason: &str, message: String, generation: Option<i64>) {
    set_condition(&mut status.conditions, "Started", false, reason, message, generation);
}

/// A new run; what is known of the one before is forgotten.
pub(super) fn begin(status: &mut OperationStatus, run: String) {
    wait_first(status);
    status.run = Some(run);
    status.jobs.clear();
    status.infos.clear();
    status.conditions.retain(|one| !matches!(one.type_.as_str(), "Complete" | "Failed"));
}

/// All that there is to do has been begun.
pub(super) fn execute(status: &mut OperationStatus, message: String, generation: Option<i64>) {
    status.phase = Some("Executing".to_owned());
    set_condition(&mut status.conditions, "Started", true, "JobStarted", message, generation);
}

pub(super) fn complete(
    status: &mut OperationStatus,
    message: String,
    took: Duration,
    generation: Option<i64>,
) {
    status.phase = Some("Complete".to_owned());
    status.duration = Some(duration(took));
    status.last_successful_time = Some(Time(Timestamp::now()));
    set_condition(&mut status.conditions, "Complete", true, "DataOperationSucceed", message, generation);
}

pub(super) fn fail(
    status: &mut OperationStatus,
    reason: &str,
    message: String,
    took: Duration,
    generation: Option<i64>,
) {
    status.phase = Some("Failed".to_owned());
    status.duration = Some(duration(took));
    set_condition(&mut status.conditions, "Failed", true, reason, message, generation);
}

/// `1m30s`
pub(super) fn duration(took: Duration) -> String {
    let seconds = took.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// `all`, names with commas between them, with or without `name`; none when nothing is left.
pub(super) fn listed(all: &str, name: &str, with: bool) -> Option<String> {
    let mut names: Vec<&str> = all.split(',').filter(|one| !one.is_empty() && *one != name).collect();
    if with {
        names.push(name);
    }
    names.sort_unstable();
    (!names.is_empty()).then(|| names.join(","))
}

/// The merge patch that makes `before` what `after` is: what a map or a field has lost must be null.
pub(super) fn patch(before: &OperationStatus, after: &OperationStatus) -> Value {
    fn lost(before: &Value, after: &mut Value) {
        let (Some(before), Some(after)) = (before.as_object(), after.as_object_mut()) else { return };
        for (key, old) in before {
            lost(old, after.entry(key).or_insert(Value::Null));
        }
    }
    let mut patch = json!(after);
    lost(&json!(before), &mut patch);
    patch
}

/// Figures of all jobs of a run, for `infos`.
pub(super) fn figures(jobs: &[Preload]) -> BTreeMap<String, String> {
    let progress = || jobs.iter().filter_map(|job| job.progress.as_ref());
    let loaded: u64 = progress().map(|one| one.loaded).sum();
    let loaded_bytes: u64 = progress().map(|one| one.loaded_bytes).sum();
    let failed: u64 = progress().map(|one| one.failed).sum();
    let numbers: Vec<String> = jobs.iter().map(|job| job.id.to_string()).collect();
    let mut all = BTreeMap::from([
        ("FilesLoaded".to_owned(), loaded.to_string()),
        ("FilesFailed".to_owned(), failed.to_string()),
        ("BytesLoaded".to_owned(), size(loaded_bytes)),
        ("Jobs".to_owned(), numbers.join(",")),
    ]);
    // How much there is, is known once all trees were walked.
    if !jobs.is_empty() && progress().filter(|one| one.counted).count() == jobs.len() {
        let (files, bytes) = (progress().map(|one| one.files).sum(), progress().map(|one| one.bytes).sum());
        let share = if bytes == 0 { percentage(loaded, files) } else { percentage(loaded_bytes, bytes) };
        all.insert("FilesTotal".to_owned(), files.to_string());
        all.insert("BytesTotal".to_owned(), size(bytes));
        all.insert("Percentage".to_owned(), if files == 0 { "100.0%".to_owned() } else { share });
    }
    let named: Vec<String> = not_loaded(jobs).take(NAMED).collect();
    if !named.is_empty() {
        all.insert("Failures".to_owned(), named.join("; "));
    }
    all
}

fn not_loaded(jobs: &[Preload]) -> impl Iterator<Item = String> {
    jobs.iter().flat_map(|job| &job.failures).map(|one| format!("{}: {}", one.path, one.reason))
}

/// How a run whose jobs have all ended came out: what was done, or what was not.
pub(super) fn outcome(jobs: &[Preload]) -> Result<String, String> {
    let of = |what: fn(&goosefs_core::proto::internal::PreloadProgress) -> u64| -> u64 {
        jobs.iter().filter_map(|job| job.progress.as_ref()).map(what).sum()
    };
    let (loaded, failed) = (of(|one| one.loaded), of(|one| one.failed));
    let broken = jobs.iter().find(|job| job.state() != PreloadState::Succeeded);
    match broken {
        None => Ok(format!("{loaded} files, {}, are cached", size(of(|one| one.loaded_bytes)))),
        Some(job) if job.state() == PreloadState::Stopped => {
            Err(format!("job {}, which loaded {}, was stopped", job.id, job.path))
        }
        Some(job) if !job.reason.is_empty() => Err(format!("{}: {}", job.path, job.reason)),
        Some(_) => {
            let named: Vec<String> = not_loaded(jobs).take(NAMED).collect();
            Err(format!("{failed} of {} files were not loaded: {}", loaded + failed, named.join("; ")))
        }
    }
}

/// One event for each thing that changed.
pub(super) fn transitions(
    kind: OperationKind,
    name: &str,
    before: &OperationStatus,
    after: &OperationStatus,
) -> Vec<(bool, String, String)> {
    let (kind, mut all) = (kind.as_str(), Vec::new());
    let started =
        |status: &OperationStatus| status.conditions.iter().find(|one| one.type_ == "Started").cloned();
    let told = |one: &Condition| (one.status.clone(), one.reason.clone());
    let (old, new) = (started(before), started(after));
    let another_run = before.run != after.run;
    match new {
        Some(new) if new.status == "True" && (another_run || old.as_ref().map(told) != Some(told(&new))) => {
            all.push((false, format!("{kind}JobStarted"), new.message.unwrap_or_default()));
        }
        Some(new) if new.status == "False" && old.as_ref().map(told) != Some(told(&new)) => {
            let missing = matches!(new.reason.as_deref(), Some("TargetDatasetNotFound" | "RuntimeNotReady"));
            all.push((missing, new.reason.unwrap_or_default(), new.message.unwrap_or_default()));
        }
        _ => {}
    }
    let end = after.conditions.iter().find(|one| one.type_ == after.phase.clone().unwrap_or_default());
    if let Some(end) = end.filter(|_| another_run || before.phase != after.phase) {
        let message = end.message.clone().unwrap_or_default();
        let reason = match (end.type_.as_str(), end.reason.as_deref()) {
            ("Complete", _) => "DataOperationSucceed",
            (_, Some("DataOperationNotValid")) => "DataOperationNotValid",
            _ => "DataOperationFailed",
        };
        all.push((end.type_ == "Failed", reason.to_owned(), format!("{kind} {name}: {message}")));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use goosefs_core::proto::internal::{PreloadFailure, PreloadProgress};

    fn job(loaded: u64, failed: u64) -> Preload {
        let failures = (0..failed).map(|n| PreloadFailure { path: format!("/d/{n}"), reason: "gone".into() });
        let mut job = Preload {
            id: 7,
            path: "/d".into(),
            progress: Some(PreloadProgress {
                counted: true,
                files: 4,
                bytes: 4 << 20,
                loaded,
                loaded_bytes: loaded << 20,
                failed,
                ..Default::default()
            }),
            failures: failures.collect(),
            ..Preload::default()
        };
        job.set_state(if failed == 0 { PreloadState::Succeeded } else { PreloadState::Failed });
        job
    }

    #[test]
    fn figures_add_up_and_failures_are_named() {
        let all = figures(&[job(4, 0), job(2, 2)]);
        assert_eq!((all["Percentage"].as_str(), all["FilesTotal"].as_str()), ("75.0%", "8"));
        assert_eq!((all["BytesLoaded"].as_str(), all["FilesFailed"].as_str()), ("6.00MiB", "2"));
        assert_eq!(all["Failures"], "/d/0: gone; /d/1: gone");
        assert_eq!(outcome(&[job(4, 0)]).unwrap(), "4 files, 4.00MiB, are cached");
        let failed = outcome(&[job(4, 0), job(2, 2)]).unwrap_err();
        assert_eq!(failed, "2 of 8 files were not loaded: /d/0: gone; /d/1: gone");
    }

    #[test]
    fn each_turn_has_one_event() {
        let reasons = |before: &OperationStatus, after: &OperationStatus| -> Vec<String> {
            let all = transitions(OperationKind::DataLoad, "l", before, after);
            all.into_iter().map(|(_, reason, _)| reason).collect()
        };
        let mut status = OperationStatus::default();
        let first = status.clone();
        wait_first(&mut status);
        waits(&mut status, "RuntimeNotReady", "none leads".into(), None);
        assert_eq!(reasons(&first, &status), ["RuntimeNotReady"]);
        let waiting = status.clone();
        waits(&mut status, "RuntimeNotReady", "other words".into(), None);
        assert!(reasons(&waiting, &status).is_empty());
        let waiting = status.clone();
        begin(&mut status, "1".into());
        execute(&mut status, "job 7".into(), None);
        assert_eq!(reasons(&waiting, &status), ["DataLoadJobStarted"]);
        let running = status.clone();
        complete(&mut status, "done".into(), Duration::from_secs(90), None);
        assert_eq!(reasons(&running, &status), ["DataOperationSucceed"]);
        assert_eq!(status.duration.as_deref(), Some("1m30s"));
        let done = status.clone();
        begin(&mut status, "2".into());
        execute(&mut status, "job 8".into(), None);
        fail(&mut status, "DataOperationFailed", "no".into(), Duration::ZERO, None);
        assert_eq!(reasons(&done, &status), ["DataLoadJobStarted", "DataOperationFailed"]);
    }

    #[test]
    fn what_is_lost_is_null_in_a_patch() {
        let infos = |pairs: &[(&str, &str)]| OperationStatus {
            infos: pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ..OperationStatus::default()
        };
        let patch = patch(&infos(&[("a", "1"), ("b", "2")]), &infos(&[("a", "3")]));
        assert_eq!(patch["infos"], json!({"a": "3", "b": null}));
    }

    #[test]
    fn names_are_listed_once() {
        assert_eq!(listed("", "a", true).as_deref(), Some("a"));
        assert_eq!(listed("b,a", "a", true).as_deref(), Some("a,b"));
        assert_eq!(listed("a,b", "a", false).as_deref(), Some("b"));
        assert_eq!(listed("a", "a", false), None);
    }
}
