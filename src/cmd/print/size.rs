//! Sizes as GooseFS prints them.

/// `2048.00MB` for 2 GiB and `6.00GB` for 6 GiB: up to five of a unit stay in the unit below.
#[must_use]
pub(crate) fn size(bytes: u64) -> String {
    const STAY: f64 = 5.0 * 1024.0;
    let mut amount = bytes as f64;
    if amount <= STAY {
        return format!("{bytes}B");
    }
    for unit in ["KB", "MB", "GB", "TB"] {
        amount /= 1024.0;
        if amount <= STAY {
            return format!("{amount:.2}{unit}");
        }
    }
    format!("{:.2}PB", amount / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_to_five_of_a_unit_stay_in_the_unit_below() {
        for (bytes, text) in [
            (0, "0B"),
            (5120, "5120B"),
            (5121, "5.00KB"),
            (2 << 30, "2048.00MB"),
            (6 << 30, "6.00GB"),
            (20_000_000, "19.07MB"),
            (u64::MAX, "16384.00PB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
