//! What a mount of a web server may set: `goosefs.underfs.web.*`.

use goosefs_core::{Code, Error, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// What the names of the options begin with.
pub(crate) const PREFIX: &str = "goosefs.underfs.web.";
/// Which there are, for people.
pub(crate) const ALLOWED: &str = "allowed are goosefs.underfs.web.connection.timeout, .header.timeout, .stall.timeout (such as \
                       500ms, 30s, 1min), .retries (0 to 20), .parallel (1 to 256) and .tls.ca.file";

/// The options of a mount, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Options {
    /// `connection.timeout`: how long connecting may take, TLS included.
    pub(crate) connection_timeout: Duration,
    /// `header.timeout`: how long one request may wait for the head of its answer, connecting included.
    pub(crate) header_timeout: Duration,
    /// `stall.timeout`: how long a body may bring nothing.
    pub(crate) stall_timeout: Duration,
    /// `retries`: how often a request is sent again after a failure that may pass.
    pub(crate) retries: u32,
    /// `parallel`: how many files of one listing are asked for at once.
    pub(crate) parallel: usize,
    /// `tls.ca.file`: certificates (PEM) to trust beside the machine's own.
    pub(crate) ca_file: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            connection_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
            retries: 4,
            parallel: 16,
            ca_file: None,
        }
    }
}

impl Options {
    /// Reads the options of a mount; those with another prefix are other connectors' and pass.
    ///
    /// Errors: `InvalidArgument` naming the option.
    pub(crate) fn read(options: &BTreeMap<String, String>) -> Result<Options> {
        let mut read = Options::default();
        for (key, value) in options {
            let Some(name) = key.strip_prefix(PREFIX) else { continue };
            let allowed = match name {
                "connection.timeout" => set(&mut read.connection_timeout, duration(value)),
                "header.timeout" => set(&mut read.header_timeout, duration(value)),
                "stall.timeout" => set(&mut read.stall_timeout, duration(value)),
                "retries" => set(&mut read.retries, value.parse().ok().filter(|n| *n <= 20)),
                "parallel" => set(&mut read.parallel, value.parse().ok().filter(|n| (1..=256).contains(n))),
                "tls.ca.file" => set(&mut read.ca_file, Some(Some(PathBuf::from(value)))),
                _ => {
                    let message = format!("unknown mount option \"{key}\"");
                    return Err(Error::new(Code::InvalidArgument, message).hint(ALLOWED));
                }
            };
            if !allowed {
                let message = format!("mount option \"{key}\" cannot be \"{value}\"");
                return Err(Error::new(Code::InvalidArgument, message).hint(ALLOWED));
            }
        }
        Ok(read)
    }
}

/// Puts `value` into `field`; false when it could not be read.
fn set<T>(field: &mut T, value: Option<T>) -> bool {
    let allowed = value.is_some();
    if let Some(value) = value {
        *field = value;
    }
    allowed
}

/// `500ms`, `30s`, `30sec`, `1min`, `2h`; a bare number is milliseconds, as everywhere in GooseFS. Never zero.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number: u64 = text[..digits].parse().ok()?;
    let factor = match text[digits..].trim() {
        "" | "ms" => 1,
        "s" | "sec" => 1_000,
        "m" | "min" => 60_000,
        "h" | "hour" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(factor)?)).filter(|timeout| !timeout.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(key: &str, value: &str) -> Result<Options> {
        Options::read(&BTreeMap::from([(key.to_owned(), value.to_owned())]))
    }

    #[test]
    fn every_option_is_read() {
        let timeout = read("goosefs.underfs.web.connection.timeout", "1min").unwrap();
        assert_eq!(timeout.connection_timeout, Duration::from_secs(60));
        assert_eq!(read("goosefs.underfs.web.parallel", "4").unwrap().parallel, 4);
        assert_eq!(read("goosefs.underfs.web.retries", "0").unwrap().retries, 0);
        assert_eq!(read("goosefs.underfs.web.stall.timeout", "200").unwrap().stall_timeout.as_millis(), 200);
        assert_eq!(read("goosefs.underfs.web.tls.ca.file", "/ca").unwrap().ca_file, Some("/ca".into()));
        assert_eq!(read("fs.cosn.bucket.region", "x").unwrap(), Options::default());
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (key, value) in [
            ("goosefs.underfs.web.colour", "red"),
            ("goosefs.underfs.web.parallel", "0"),
            ("goosefs.underfs.web.header.timeout", "soon"),
            ("goosefs.underfs.web.header.timeout", "0s"),
            ("goosefs.underfs.web.retries", "-1"),
        ] {
            let error = read(key, value).unwrap_err();
            assert_eq!(error.code, Code::InvalidArgument);
            assert!(error.message.contains(key), "{error}");
        }
    }
}
