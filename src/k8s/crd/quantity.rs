//! Kubernetes quantities as GooseFS and Alluxio read them: `2G` means 2 GiB, as `2Gi` does.

use goosefs_core::{Code, Error, Result};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The bytes of a quota. `K`, `M`, `G`, `T`, `P` and `E` are binary with and without `i`.
///
/// # Errors
/// `InvalidArgument` for what is no number of bytes: negative, fractions of a byte, other suffixes.
pub fn bytes_of(quantity: &Quantity) -> Result<u64> {
    let text = quantity.0.trim();
    let refused = || {
        Error::new(Code::InvalidArgument, format!("quota \"{text}\" is not a size"))
            .hint("a positive number with K, M, G, T or P behind it; 2G and 2Gi both mean 2 GiB")
    };
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let digits = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(digits);
    let shift = match suffix.strip_suffix('i').unwrap_or(suffix) {
        "" if suffix.is_empty() => 0,
        "K" | "k" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        "P" => 50,
        "E" => 60,
        _ => return Err(refused()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.len() > 9 {
        return Err(refused());
    }
    let parse = |digits: &str| if digits.is_empty() { Ok(0) } else { digits.parse::<u128>() };
    let (Ok(whole), Ok(part)) = (parse(whole), parse(fraction)) else { return Err(refused()) };
    let scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or_default());
    let bytes = whole
        .checked_mul(scale)
        .and_then(|scaled| scaled.checked_add(part))
        .and_then(|scaled| scaled.checked_mul(1 << shift))
        .ok_or_else(refused)?
        / scale;
    u64::try_from(bytes).ok().filter(|bytes| *bytes > 0).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_binary_with_and_without_an_i() {
        let bytes = |text: &str| bytes_of(&Quantity(text.to_owned())).unwrap();
        assert_eq!(bytes("2G"), 2 << 30);
        assert_eq!(bytes("2Gi"), 2 << 30);
        assert_eq!(bytes("1.5Gi"), 3 << 29);
        assert_eq!(bytes("+512k"), 512 << 10);
        assert_eq!(bytes("4096"), 4096);
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["-2G", "", ".", "G", "2GB", "500m", "1e3", "2 G", "0", "99999999999E", "1..2", "i"] {
            let refused = bytes_of(&Quantity(text.to_owned()));
            assert_eq!(refused.map_err(|error| error.code), Err(Code::InvalidArgument), "{text}");
        }
    }
}
