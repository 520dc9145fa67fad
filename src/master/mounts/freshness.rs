//! How old metadata may be that a caller is answered with.

use goosefs_core::proto::public::file::{FileSystemMasterCommonPOptions, LoadMetadataPType};
use std::time::Duration;

/// How old metadata of the under-storage may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Freshness {
    /// Only what is in the namespace; nothing is loaded.
    Known,
    /// What was loaded once stays; what never was is loaded.
    Loaded,
    /// What is at least this old is looked at again. Zero looks always, and then errors of the under-storage are the
    /// caller's; else what is known is good enough when the under-storage does not answer.
    Within(Duration),
}

impl Freshness {
    /// What `goosefs.user.file.metadata.sync.interval` asks for.
    pub(crate) fn of_interval(interval: Option<Duration>) -> Freshness {
        interval.map_or(Freshness::Loaded, Freshness::Within)
    }

    /// What a request allows in milliseconds (0 looks always, a negative age never), else `default`.
    pub(crate) fn of_age(age_ms: Option<i64>, default: Freshness) -> Freshness {
        match age_ms {
            None => default,
            Some(negative) if negative < 0 => Freshness::Loaded,
            Some(ms) => Freshness::Within(Duration::from_millis(ms.unsigned_abs())),
        }
    }

    /// What a request asks for, else `default`.
    pub(crate) fn of_request(
        common: Option<&FileSystemMasterCommonPOptions>,
        load: Option<i32>,
        default: Freshness,
    ) -> Freshness {
        let load = load.and_then(|load| LoadMetadataPType::try_from(load).ok());
        let asked = Freshness::of_age(common.and_then(|common| common.sync_interval_ms), default);
        match (load, asked) {
            (Some(LoadMetadataPType::Always), _) => Freshness::Within(Duration::ZERO),
            (Some(LoadMetadataPType::Never), Freshness::Loaded) => Freshness::Known,
            (Some(LoadMetadataPType::Never | LoadMetadataPType::Once) | None, asked) => asked,
        }
    }

    /// The age in milliseconds, as `DirectoryState::needs_load` takes it.
    pub(crate) fn interval_ms(self) -> Option<u64> {
        match self {
            Freshness::Known | Freshness::Loaded => None,
            Freshness::Within(age) => Some(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// The caller insists on the under-storage's word.
    pub(crate) fn strict(self) -> bool {
        self == Freshness::Within(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(interval: Option<i64>, load: Option<LoadMetadataPType>) -> Freshness {
        let common = FileSystemMasterCommonPOptions { sync_interval_ms: interval, operation_id: None };
        let default = Freshness::Within(Duration::from_secs(60));
        Freshness::of_request(Some(&common), load.map(|l| l as i32), default)
    }

    #[test]
    fn requests_override_the_default() {
        assert_eq!(asked(None, None), Freshness::Within(Duration::from_secs(60)));
        assert_eq!(asked(Some(-1), None), Freshness::Loaded);
        assert_eq!(asked(Some(0), None), Freshness::Within(Duration::ZERO));
        assert_eq!(asked(Some(-1), Some(LoadMetadataPType::Never)), Freshness::Known);
        assert_eq!(asked(Some(-1), Some(LoadMetadataPType::Always)), Freshness::Within(Duration::ZERO));
        assert!(asked(Some(0), Some(LoadMetadataPType::Once)).strict());
    }
}
