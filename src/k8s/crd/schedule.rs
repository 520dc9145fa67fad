//! Schedules of policy Cron.

use cronexpr::{Crontab, FallbackTimezoneOption, ParseOptions};
use goosefs_core::{Code, Error, Result};
use jiff::Timestamp;

/// When something is done again and again.
#[derive(Debug)]
pub struct Schedule(Crontab);

impl Schedule {
    /// Minute, hour, day of the month, month, day of the week; in UTC when no time zone follows.
    ///
    /// # Errors
    /// `InvalidArgument` saying what is wrong.
    pub fn parse(text: &str) -> Result<Schedule> {
        let mut options = ParseOptions::default();
        options.fallback_timezone_option = FallbackTimezoneOption::UTC;
        let wrong = |error: cronexpr::Error| {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default().trim();
            Error::new(Code::InvalidArgument, format!("\"{text}\" is no schedule: {why}"))
                .hint("minute, hour, day of the month, month, day of the week, as \"0 3 * * *\"")
        };
        cronexpr::parse_crontab_with(text, options).map(Schedule).map_err(wrong)
    }

    /// The first moment after `after`; none for a day that never comes.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.0.find_next(after).ok().map(|at| at.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_in_utc_unless_they_say_otherwise() {
        let after: Timestamp = "2026-01-31T22:59:00Z".parse().unwrap();
        let next = |text: &str| Schedule::parse(text).unwrap().next(after).unwrap().to_string();
        assert_eq!(next("* * * * *"), "2026-01-31T23:00:00Z");
        assert_eq!(next("0 3 * * *"), "2026-02-01T03:00:00Z");
        assert_eq!(next("0 3 * * * Asia/Shanghai"), "2026-02-01T19:00:00Z");
        for wrong in ["", "every day", "61 * * * *", "0 3 * *"] {
            let error = Schedule::parse(wrong).unwrap_err();
            assert!(error.message.starts_with(&format!("\"{wrong}\" is no schedule: ")), "{error}");
        }
    }
}
