//! Phases and sizes, as Fluid's users read them.

use crate::crd::Condition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// `Ready`, `PartialReady` or `NotReady`, and why.
pub(super) fn phase(ready: i32, desired: i32, what: &str) -> (String, String) {
    let phase = match ready {
        _ if ready >= desired => "Ready",
        0 => "NotReady",
        _ => "PartialReady",
    };
    (phase.to_owned(), format!("{ready} of {desired} {what} are ready"))
}

/// `443.89MiB`: bytes with two decimals in the largest unit below.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = 0;
    let mut scale = 1_u64;
    while unit + 1 < UNITS.len() && bytes / scale >= 1024 {
        scale *= 1024;
        unit += 1;
    }
    // In hundredths, rounded, without floating point.
    let hundredths = (u128::from(bytes) * 100 + u128::from(scale / 2)) / u128::from(scale);
    format!("{}.{:02}{}", hundredths / 100, hundredths % 100, UNITS[unit])
}

/// `12.3%` of `whole`.
pub(crate) fn percentage(part: u64, whole: u64) -> String {
    let tenths = (u128::from(part) * 1000).checked_div(u128::from(whole)).unwrap_or_default().min(1000);
    format!("{}.{}%", tenths / 10, tenths % 10)
}

/// Sets a condition; its times move only when it changes.
pub(super) fn set_condition(
    conditions: &mut Vec<Condition>,
    type_: &str,
    holds: bool,
    reason: &str,
    message: String,
    generation: Option<i64>,
) {
    let now = Some(Time(jiff::Timestamp::now()));
    let status = if holds { "True" } else { "False" };
    let old =
        conditions.iter().position(|condition| condition.type_ == type_).map(|at| conditions.remove(at));
    let mut new = Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        observed_generation: generation,
        last_probe_time: now.clone(),
        last_update_time: now.clone(),
        last_transition_time: now,
    };
    if let Some(old) = old {
        if old.status == new.status {
            new.last_transition_time = old.last_transition_time.clone();
        }
        let same = old.status == new.status && old.reason == new.reason && old.message == new.message;
        if same && old.observed_generation == new.observed_generation {
            new = old;
        }
    }
    conditions.push(new);
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_shares_are_fluids() {
        assert_eq!(size(0), "0.00B");
        assert_eq!(size(6 << 30), "6.00GiB");
        assert_eq!(size(465_452_400), "443.89MiB");
        assert_eq!(
            (percentage(0, 0), percentage(0, 5), percentage(1, 3), percentage(9, 3)),
            ("0.0%".to_owned(), "0.0%".to_owned(), "33.3%".to_owned(), "100.0%".to_owned())
        );
    }

    #[test]
    fn phases_follow_what_is() {
        let of = |ready, desired| phase(ready, desired, "workers").0;
        assert_eq!(
            (of(3, 3), of(1, 3), of(0, 3), of(0, 0)),
            ("Ready".to_owned(), "PartialReady".to_owned(), "NotReady".to_owned(), "Ready".to_owned())
        );
    }

    #[test]
    fn times_of_a_condition_move_only_when_it_changes() {
        let mut all = Vec::new();
        set_condition(&mut all, "Ready", true, "Fine", String::new(), Some(1));
        let first = all.clone();
        set_condition(&mut all, "Ready", true, "Fine", String::new(), Some(1));
        assert_eq!(all, first);
        set_condition(&mut all, "Ready", false, "Bad", String::new(), Some(2));
        assert_eq!((all.len(), all[0].status.as_str()), (1, "False"));
    }
}
