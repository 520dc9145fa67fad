//! When a load is made, and what a run is called. No I/O.

use super::tell::Wait;
use crate::crd::{DataLoad, Dataset, OperationStatus, Policy, Schedule};
use jiff::Timestamp;
use kube::ResourceExt;
use std::time::Duration;

/// Whether a load is to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// Now. The same run has the same name, whoever asks and however often.
    Now(String),
    /// After so long.
    In(Duration),
    /// Not before this.
    Wait(Wait),
}

/// The longest time to look away: clocks are set, too.
const LONGEST: Duration = Duration::from_secs(300);

/// Whether another run is due, when none is under way.
pub(super) fn due(load: &DataLoad, dataset: &Dataset, status: &OperationStatus, now: Timestamp) -> Due {
    match load.spec.policy {
        Policy::Once => Due::Now("1".to_owned()),
        Policy::Cron => scheduled(load, status, now),
        Policy::OnEvent => match mark(dataset) {
            None => {
                Due::Wait(Wait::For("RuntimeNotReady", "the size of the Dataset is not known yet".to_owned()))
            }
            Some(mark) if status.run.as_ref() == Some(&mark) => Due::In(LONGEST),
            Some(mark) => Due::Now(mark),
        },
    }
}

/// Of times that were missed, one is made up for.
fn scheduled(load: &DataLoad, status: &OperationStatus, now: Timestamp) -> Due {
    let schedule = match Schedule::parse(load.spec.schedule.as_deref().unwrap_or_default()) {
        Ok(schedule) => schedule,
        Err(error) => return Due::Wait(Wait::Never(error.to_string())),
    };
    let created = load.creation_timestamp().map(|time| time.0);
    let last = status.last_schedule_time.as_ref().map(|time| time.0);
    match schedule.next(last.or(created).unwrap_or(now)) {
        Some(at) if at <= now => Due::Now(at.to_string()),
        Some(at) => {
            let left = Duration::try_from(at.duration_since(now)).unwrap_or_default();
            Due::In(left.clamp(Duration::from_secs(1), LONGEST))
        }
        None => Due::In(LONGEST),
    }
}

/// Changes whenever the Dataset has other mounts, or its storages have other files; none before that is known.
fn mark(dataset: &Dataset) -> Option<String> {
    let status = dataset.status.as_ref()?;
    let (files, bytes) = (status.file_num.as_ref()?, status.ufs_total.as_ref()?);
    if status.observed_generation != dataset.metadata.generation {
        return None;
    }
    let mut text = format!("{files} {bytes}");
    for mount in &dataset.spec.mounts {
        text.push_str(&format!("\n{} {} {:?}", mount.shown_at(), mount.mount_point, mount.options));
    }
    Some(format!("{:08x}", goosefs_core::checksum::crc32c(text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::{DatasetSpec, DatasetStatus, Mount};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn load(policy: Policy) -> DataLoad {
        let mut load = DataLoad::default();
        load.metadata.creation_timestamp = Some(Time(at("2026-01-01T10:00:30Z")));
        load.spec.policy = policy;
        load.spec.schedule = Some("*/5 * * * *".to_owned());
        load
    }

    #[test]
    fn a_schedule_makes_up_for_one_missed_time() {
        let (load, mut status) = (load(Policy::Cron), OperationStatus::default());
        let due = |status: &OperationStatus, now: &str| due(&load, &Dataset::default(), status, at(now));
        assert_eq!(due(&status, "2026-01-01T10:04:00Z"), Due::In(Duration::from_secs(60)));
        assert_eq!(due(&status, "2026-01-01T10:05:00Z"), Due::Now("2026-01-01T10:05:00Z".into()));
        assert_eq!(due(&status, "2026-01-01T12:01:00Z"), Due::Now("2026-01-01T10:05:00Z".into()));
        status.last_schedule_time = Some(Time(at("2026-01-01T12:01:00Z")));
        assert_eq!(due(&status, "2026-01-01T12:01:01Z"), Due::In(Duration::from_secs(239)));
    }

    #[test]
    fn other_mounts_and_other_files_are_events() {
        let (load, mut status) = (load(Policy::OnEvent), OperationStatus::default());
        let mount =
            |name: &str| Mount { mount_point: "s3://b/".into(), name: name.into(), ..Mount::default() };
        let mut dataset = Dataset::new("d", DatasetSpec { mounts: vec![mount("a")], ..Default::default() });
        let now = at("2026-01-01T10:04:00Z");
        assert!(matches!(due(&load, &dataset, &status, now), Due::Wait(_)));
        let told = DatasetStatus {
            file_num: Some("3".into()),
            ufs_total: Some("1.00MiB".into()),
            ..Default::default()
        };
        dataset.status = Some(told.clone());
        let Due::Now(first) = due(&load, &dataset, &status, now) else { panic!("nothing is due") };
        status.run = Some(first);
        assert!(matches!(due(&load, &dataset, &status, now), Due::In(_)));
        dataset.status = Some(DatasetStatus { file_num: Some("4".into()), ..told.clone() });
        assert!(matches!(due(&load, &dataset, &status, now), Due::Now(_)));
        dataset.status = Some(told);
        dataset.spec.mounts.push(mount("b"));
        assert!(matches!(due(&load, &dataset, &status, now), Due::Now(_)));
    }
}
