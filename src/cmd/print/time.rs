//! Times as GooseFS prints them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `MM-dd-yyyy HH:mm:ss:SSS` in the zone of this machine.
#[must_use]
pub(crate) fn date(ms: u64) -> String {
    date_in(ms, &TimeZone::system())
}

fn date_in(ms: u64, zone: &TimeZone) -> String {
    let stamp =
        i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    let local = stamp.to_zoned(zone.clone());
    format!("{}:{:03}", local.strftime("%m-%d-%Y %H:%M:%S"), local.millisecond())
}

/// `0 day(s), 1 hour(s), 3 minute(s), and 35 second(s)`.
#[must_use]
pub(crate) fn uptime(ms: u64) -> String {
    let seconds = ms / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    format!(
        "{days} day(s), {} hour(s), {} minute(s), and {} second(s)",
        hours % 24,
        minutes % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_uptimes() {
        assert_eq!(date_in(1_625_224_525_107, &TimeZone::UTC), "07-02-2021 11:15:25:107");
        assert_eq!(uptime(3_815_999), "0 day(s), 1 hour(s), 3 minute(s), and 35 second(s)");
        assert_eq!(uptime(90_000_000), "1 day(s), 1 hour(s), 0 minute(s), and 0 second(s)");
    }
}
