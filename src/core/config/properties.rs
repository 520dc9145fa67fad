//! The properties of one process.

use super::key::{Key, Kind};
use super::{keys, value};
use crate::error::{Code, Error, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where `goosefs dev` puts its masters unless told otherwise.
const DEV_MASTERS: [&str; 3] = ["127.0.0.1:9200", "127.0.0.1:9210", "127.0.0.1:9220"];

/// Where a value comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// The table of defaults.
    Default,
    /// A properties file.
    File(String),
    /// An environment variable.
    Environment(String),
    /// `-Dkey=value` on the command line, or set by the program.
    CommandLine,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("DEFAULT"),
            Source::File(path) => write!(f, "SITE_PROPERTY ({path})"),
            Source::Environment(variable) => write!(f, "ENVIRONMENT ({variable})"),
            Source::CommandLine => f.write_str("SYSTEM_PROPERTY"),
        }
    }
}

/// Values by name; what nobody set has its key's default.
#[derive(Clone, Debug, Default)]
pub struct Properties {
    values: BTreeMap<String, (String, Source)>,
}

impl Properties {
    /// Only defaults.
    #[must_use]
    pub fn new() -> Properties {
        Properties::default()
    }

    /// Sets `name`, over what is there. The name is not checked: `sources` does that for what people write.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>, source: Source) {
        self.values.insert(name.into(), (value.into(), source));
    }

    /// The same properties with `key` set by the program.
    #[must_use]
    pub fn with(mut self, key: &Key, value: impl Into<String>) -> Properties {
        self.set(key.name, value, Source::CommandLine);
        self
    }

    /// The value and source of any name that was set, or has a default.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<(&str, Source)> {
        if let Some((value, source)) = self.values.get(name) {
            return Some((value, source.clone()));
        }
        let key = keys::ALL.iter().find(|key| key.matches(name))?;
        (!key.default.is_empty()).then_some((key.default, Source::Default))
    }

    /// Whether somebody set `key`.
    #[must_use]
    pub fn is_set(&self, key: &Key) -> bool {
        self.values.contains_key(key.name)
    }

    /// Every name that was set, with value and source, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &Source)> {
        self.values.iter().map(|(name, (value, source))| (name.as_str(), value.as_str(), source))
    }

    /// The text of `key`, empty when it is not set and has no default.
    #[must_use]
    pub fn text(&self, key: &Key) -> &str {
        self.text_of(key.name, key)
    }

    /// The size of `key` in bytes.
    ///
    /// # Errors
    /// `InvalidArgument` naming key, value and what is allowed; so for the getters below.
    pub fn size(&self, key: &Key) -> Result<u64> {
        self.parse(key.name, key, value::size)
    }

    /// The time of `key`; `None` means "never" (-1).
    ///
    /// # Errors
    /// As [`Properties::size`].
    pub fn duration(&self, key: &Key) -> Result<Option<Duration>> {
        self.parse(key.name, key, value::duration)
    }

    /// The time of `key`, for which "never" is not allowed.
    ///
    /// # Errors
    /// As [`Properties::size`].
    pub fn finite_duration(&self, key: &Key) -> Result<Duration> {
        self.parse(key.name, key, |text| value::duration(text).flatten())
    }

    /// The share of `key`.
    ///
    /// # Errors
    /// As [`Properties::size`].
    pub fn ratio(&self, key: &Key) -> Result<f64> {
        self.parse(key.name, key, value::ratio)
    }

    /// The truth of `key`.
    ///
    /// # Errors
    /// As [`Properties::size`].
    pub fn truth(&self, key: &Key) -> Result<bool> {
        self.parse(key.name, key, value::truth)
    }

    /// The number of `key`.
    ///
    /// # Errors
    /// As [`Properties::size`].
    pub fn number<N: TryFrom<i64>>(&self, key: &Key) -> Result<N> {
        self.parse(key.name, key, |text| {
            let number: i64 = text.trim().parse().ok()?;
            let allowed = match key.kind {
                Kind::Number(low, high) => (low..=high).contains(&number),
                _ => true,
            };
            if allowed { N::try_from(number).ok() } else { None }
        })
    }

    /// The texts of `key`.
    #[must_use]
    pub fn list(&self, key: &Key) -> Vec<String> {
        value::list(self.text(key))
    }

    /// The word of `key`, in capitals.
    ///
    /// # Errors
    /// As [`Properties::size`].
    pub fn choice(&self, key: &Key) -> Result<String> {
        self.parse(key.name, key, |text| {
            let word = text.trim().to_ascii_uppercase();
            match key.kind {
                Kind::Choice(words) if !words.contains(&word.as_str()) => None,
                _ => Some(word),
            }
        })
    }

    /// The text of number `n` of a family.
    #[must_use]
    pub fn text_at(&self, key: &Key, n: usize) -> &str {
        self.text_of(&key.numbered(n), key)
    }

    /// The texts of number `n` of a family.
    #[must_use]
    pub fn list_at(&self, key: &Key, n: usize) -> Vec<String> {
        value::list(self.text_at(key, n))
    }

    /// The share of number `n` of a family.
    ///
    /// # Errors
    /// As [`Properties::size`].
    pub fn ratio_at(&self, key: &Key, n: usize) -> Result<f64> {
        self.parse(&key.numbered(n), key, value::ratio)
    }

    /// Where everything lies that has no place of its own (`goosefs.home`), absolute.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        let home = match self.text(&keys::HOME) {
            "" => "goosefs-dev",
            home => home,
        };
        std::path::absolute(home).unwrap_or_else(|_| PathBuf::from(home))
    }

    /// `host:port` of every master that clients and workers dial: those that are set, else the single master whose host
    /// is set, else the masters of a dev cluster on its default ports.
    #[must_use]
    pub fn masters(&self) -> Vec<String> {
        let addresses = self.list(&keys::MASTER_RPC_ADDRESSES);
        if !addresses.is_empty() {
            return addresses;
        }
        if self.is_set(&keys::MASTER_HOSTNAME) || self.is_set(&keys::MASTER_RPC_PORT) {
            return vec![format!(
                "{}:{}",
                self.text(&keys::MASTER_HOSTNAME),
                self.text(&keys::MASTER_RPC_PORT)
            )];
        }
        DEV_MASTERS.map(str::to_owned).to_vec()
    }

    /// The user that this process acts as: `goosefs.security.login.username`, else the owner of the process.
    #[must_use]
    pub fn user(&self) -> String {
        match self.text(&keys::LOGIN_USER) {
            "" => {
                let uid = nix::unistd::geteuid();
                let user = nix::unistd::User::from_uid(uid).ok().flatten();
                user.map_or_else(|| uid.to_string(), |user| user.name)
            }
            name => name.to_owned(),
        }
    }

    /// The error that `name`'s value is not what `key` allows.
    #[must_use]
    pub fn invalid(&self, name: &str, key: &Key) -> Error {
        let (value, source) = self.raw(name).unwrap_or(("", Source::Default));
        let message = format!("property {name} cannot be \"{value}\": it takes {}", key.kind.allowed());
        match source {
            Source::Default | Source::CommandLine => Error::new(Code::InvalidArgument, message),
            Source::File(_) | Source::Environment(_) => {
                Error::new(Code::InvalidArgument, message).hint(format!("set by {source}"))
            }
        }
    }

    fn text_of<'a>(&'a self, name: &str, key: &Key) -> &'a str {
        self.values.get(name).map_or(key.default, |(value, _)| value.as_str())
    }

    fn parse<T>(&self, name: &str, key: &Key, read: impl Fn(&str) -> Option<T>) -> Result<T> {
        read(self.text_of(name, key)).ok_or_else(|| self.invalid(name, key))
    }

    /// Checks every value that was set against its key.
    ///
    /// # Errors
    /// The first that is not allowed.
    pub fn check(&self) -> Result<()> {
        for (name, (text, _)) in &self.values {
            let Some(key) = keys::ALL.iter().find(|key| key.matches(name)) else { continue };
            let good = match key.kind {
                Kind::Text | Kind::List => true,
                Kind::Size => value::size(text).is_some(),
                Kind::Duration => value::duration(text).is_some(),
                Kind::Ratio => value::ratio(text).is_some(),
                Kind::Bool => value::truth(text).is_some(),
                Kind::Number(low, high) => {
                    text.trim().parse().is_ok_and(|number: i64| (low..=high).contains(&number))
                }
                Kind::Choice(words) => words.contains(&text.trim().to_ascii_uppercase().as_str()),
            };
            if !good {
                return Err(self.invalid(name, key));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_set_has_its_default() {
        let properties = Properties::new();
        assert_eq!(properties.size(&keys::USER_BLOCK_SIZE).unwrap(), 64 << 20);
        assert_eq!(properties.duration(&keys::USER_SYNC_INTERVAL).unwrap(), None);
        assert_eq!(properties.number::<u16>(&keys::MASTER_RPC_PORT).unwrap(), 9200);
        assert!((properties.ratio_at(&keys::WORKER_TIER_HIGH, 2).unwrap() - 0.95).abs() < f64::EPSILON);
    }

    #[test]
    fn every_default_is_allowed() {
        let mut properties = Properties::new();
        for key in keys::ALL.iter().filter(|key| !key.default.is_empty()) {
            properties.set(key.numbered(0), key.default, Source::CommandLine);
        }
        properties.check().unwrap();
    }

    #[test]
    fn a_bad_value_is_named_with_what_is_allowed() {
        let properties = Properties::new().with(&keys::USER_BLOCK_SIZE, "2X");
        let error = properties.size(&keys::USER_BLOCK_SIZE).unwrap_err();
        assert_eq!(
            error.to_string(),
            "property goosefs.user.block.size.bytes.default cannot be \"2X\": it takes a size such as 512MB or 2GB"
        );
        assert_eq!(properties.check().unwrap_err(), error);
        let properties = Properties::new().with(&keys::MASTER_RPC_PORT, "70000");
        assert!(properties.number::<u16>(&keys::MASTER_RPC_PORT).is_err());
    }
}
