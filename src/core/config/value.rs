//! Reading values: sizes, times, shares, truth.

use std::time::Duration;

const UNITS: [(&str, u64); 12] = [
    ("KIB", 1 << 10),
    ("MIB", 1 << 20),
    ("GIB", 1 << 30),
    ("TIB", 1 << 40),
    ("KB", 1 << 10),
    ("MB", 1 << 20),
    ("GB", 1 << 30),
    ("TB", 1 << 40),
    ("K", 1 << 10),
    ("M", 1 << 20),
    ("G", 1 << 30),
    ("T", 1 << 40),
];

/// Bytes: `2GB`, `1.5G`, `64MiB`, `512`, `512B`; every unit is 1024-based, as in GooseFS.
#[must_use]
pub fn size(text: &str) -> Option<u64> {
    let upper = text.trim().to_ascii_uppercase();
    let unit = UNITS.iter().find_map(|(unit, bytes)| Some((upper.strip_suffix(unit)?, *bytes)));
    let (number, unit) = unit.unwrap_or_else(|| (upper.strip_suffix('B').unwrap_or(&upper), 1));
    let number = number.trim();
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(unit);
    }
    let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let share = plain.then(|| number.parse::<f64>().ok()).flatten()?;
    let bytes = share * unit as f64;
    (unit > 1 && bytes.is_finite() && bytes < i64::MAX as f64).then_some(bytes as u64)
}

/// A time: `300ms`, `20s` (`20sec`), `5m` (`5min`), `2h`, `1d` (`1day`); a bare number is milliseconds. Negative
/// numbers are `Some(None)`: "never".
#[must_use]
pub fn duration(text: &str) -> Option<Option<Duration>> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !(c.is_ascii_digit() || c == '-' || c == '.')).unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let number: f64 = number.parse().ok()?;
    let unit_ms = match unit.trim() {
        "" | "ms" | "msec" | "millisecond" => 1.0,
        "s" | "sec" | "second" => 1e3,
        "m" | "min" | "minute" => 60e3,
        "h" | "hr" | "hour" => 3600e3,
        "d" | "day" => 86_400e3,
        _ => return None,
    };
    if number < 0.0 {
        return Some(None);
    }
    Duration::try_from_secs_f64(number * unit_ms / 1e3).ok().map(Some)
}

/// A share between 0 and 1.
#[must_use]
pub fn ratio(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|share| (0.0..=1.0).contains(share))
}

/// `true` or `false`.
#[must_use]
pub fn truth(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// Texts between commas, without blanks around them; empty ones are dropped (Fluid's chart writes a leading comma).
#[must_use]
pub fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("2GB", 2 << 30),
            ("2g", 2 << 30),
            ("1.5GB", 3 << 29),
            ("64MiB", 64 << 20),
            ("512", 512),
            ("512B", 512),
            ("0", 0),
            (" 1 KB ", 1024),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["2X", "", "GB", "-1", "1e3", "1.5", "99999999TB", "inf"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn times() {
        for (text, ms) in
            [("300", 300), ("300ms", 300), ("20s", 20_000), ("5min", 300_000), ("1day", 86_400_000)]
        {
            assert_eq!(duration(text), Some(Some(Duration::from_millis(ms))), "{text}");
        }
        assert_eq!(duration("-1"), Some(None));
        for text in ["", "s", "5 apples", "1.2.3s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn shares_truth_and_lists() {
        assert_eq!(ratio("0.95"), Some(0.95));
        assert_eq!(ratio("1.1"), None);
        assert_eq!(ratio("NaN"), None);
        assert_eq!(truth("TRUE"), Some(true));
        assert_eq!(truth("yes"), None);
        assert_eq!(list(",a:1, b:2,"), ["a:1", "b:2"]);
    }
}
