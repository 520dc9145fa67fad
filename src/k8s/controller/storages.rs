//! The Dataset's condition `StoragesAnswer`: whether workers can read what is not cached. A key that a storage no longer
//! takes, or a storage that is silent, shows here with its words; readers get a bare errno.
//!
//! Called by [`super::tell`]; who reconciles publishes [`event`]. Nothing is said before masters have answered once.

use super::ask::Cluster;
use super::phase::set_condition;
use crate::crd::{Condition, DatasetStatus};

/// Type of the condition.
const TYPE: &str = "StoragesAnswer";

fn condition(status: &DatasetStatus) -> Option<&Condition> {
    status.conditions.iter().find(|condition| condition.type_ == TYPE)
}

/// Brings the condition up to date. Its message stays while the same mounts are in trouble: each worker and each file has
/// words of its own, which are no news.
pub(super) fn tell(status: &mut DatasetStatus, cluster: Option<&Cluster>, generation: Option<i64>) {
    let Some(cluster) = cluster else { return };
    let (holds, reason, message) = match cluster.troubles.is_empty() {
        true => (true, "StoragesAnswer", "no storage refused a worker or was silent lately".to_owned()),
        false => (false, "StorageFails", words(cluster)),
    };
    let same = |old: &&Condition| {
        old.status == "False" && old.message.as_deref().is_some_and(|old| paths(old) == paths(&message))
    };
    let kept = condition(status).filter(same).and_then(|old| old.message.clone());
    set_condition(&mut status.conditions, TYPE, holds, reason, kept.unwrap_or(message), generation);
}

/// A line for each mount, which begins with its path.
fn words(cluster: &Cluster) -> String {
    let lines =
        cluster.troubles.iter().map(|(path, error)| format!("mount {path}: {}", error.replace('\n', " ")));
    lines.collect::<Vec<_>>().join("\n")
}

/// The mounts that such lines are about.
fn paths(message: &str) -> Vec<&str> {
    message.lines().map(|line| line.split_once(": ").map_or(line, |(path, _)| path)).collect()
}

/// The event of a change: whether it is a warning, reason and note.
pub(super) fn event(before: &DatasetStatus, after: &DatasetStatus) -> Option<(bool, &'static str, String)> {
    let failed = |status| condition(status).filter(|condition| condition.status == "False");
    let message = |condition: &Condition| condition.message.clone().unwrap_or_default();
    match (failed(before), failed(after)) {
        (old, Some(new)) if old.map(message) != Some(message(new)) => {
            Some((true, "StorageFails", format!("what is not cached cannot be read: {}", message(new))))
        }
        (Some(old), None) => Some((false, "StorageAnswers", format!("no more: {}", message(old)))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(before: &DatasetStatus, troubles: &[(&str, &str)]) -> DatasetStatus {
        let troubles = troubles.iter().map(|(path, error)| ((*path).to_owned(), (*error).to_owned()));
        let cluster = Cluster { troubles: troubles.collect(), ..Cluster::default() };
        let mut after = before.clone();
        tell(&mut after, Some(&cluster), Some(1));
        after
    }

    #[test]
    fn a_storage_that_refuses_is_an_event_once_with_its_words_and_another_when_it_is_over() {
        let nothing = DatasetStatus::default();
        let well = told(&nothing, &[]);
        assert_eq!(event(&nothing, &well), None);
        let refused = told(&well, &[("/a", "worker 1: key: refused")]);
        let (warning, reason, note) = event(&well, &refused).unwrap();
        assert_eq!((warning, reason), (true, "StorageFails"));
        assert!(note.ends_with("mount /a: worker 1: key: refused"), "{note}");
        let again = told(&refused, &[("/a", "worker 2: another file")]);
        assert_eq!(event(&refused, &again), None);
        let more = told(&again, &[("/a", "worker 2: another file"), ("/b", "worker 2: silent")]);
        assert_eq!(event(&again, &more).map(|(_, reason, _)| reason), Some("StorageFails"));
        let over = told(&more, &[]);
        assert_eq!(
            event(&more, &over).map(|(warning, reason, _)| (warning, reason)),
            Some((false, "StorageAnswers"))
        );
    }

    #[test]
    fn masters_that_do_not_answer_change_nothing() {
        let refused = told(&DatasetStatus::default(), &[("/a", "refused")]);
        let mut after = refused.clone();
        tell(&mut after, None, Some(1));
        assert_eq!(after, refused);
    }
}
