//! What a property is.

/// A property.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    /// Its name. `{N}` stands for a number: one key of the table is then a family of properties.
    pub name: &'static str,
    /// What it is when nobody sets it; empty means "not set".
    pub default: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// What it means, for a person.
    pub doc: &'static str,
}

/// What a value may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Any text.
    Text,
    /// Bytes: `64MB`, `2GB`, `1048576` (1024-based).
    Size,
    /// Time: `300ms`, `20s`, `5min`, `2h`, `1day`; a bare number is milliseconds; -1 where it means "never".
    Duration,
    /// A share between 0 and 1.
    Ratio,
    /// `true` or `false`.
    Bool,
    /// A whole number from the first to the second.
    Number(i64, i64),
    /// Texts between commas.
    List,
    /// One of these words; case does not matter.
    Choice(&'static [&'static str]),
}

impl Key {
    /// The property of this family with number `n`.
    #[must_use]
    pub fn numbered(&self, n: usize) -> String {
        self.name.replace("{N}", &n.to_string())
    }

    /// Whether `name` is this property, or one of this family.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let Some((before, after)) = self.name.split_once("{N}") else {
            return self.name == name;
        };
        let number = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
        number.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
    }

    /// The environment variable that sets it.
    #[must_use]
    pub fn variable(&self) -> String {
        self.name.to_ascii_uppercase().replace('.', "_")
    }
}

impl Kind {
    /// What is allowed, for error messages.
    #[must_use]
    pub fn allowed(&self) -> String {
        match self {
            Kind::Text => "any text".to_owned(),
            Kind::Size => "a size such as 512MB or 2GB".to_owned(),
            Kind::Duration => "a time such as 300ms, 20s, 5min or -1".to_owned(),
            Kind::Ratio => "a number between 0 and 1".to_owned(),
            Kind::Bool => "true or false".to_owned(),
            Kind::Number(low, high) => format!("a whole number from {low} to {high}"),
            Kind::List => "a list separated by commas".to_owned(),
            Kind::Choice(words) => format!("one of {}", words.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys;

    #[test]
    fn a_family_matches_its_numbers_only() {
        let key = keys::WORKER_TIER_DIRS_QUOTA;
        assert!(key.matches("goosefs.worker.tieredstore.level0.dirs.quota"));
        assert!(key.matches("goosefs.worker.tieredstore.level12.dirs.quota"));
        assert!(!key.matches("goosefs.worker.tieredstore.level.dirs.quota"));
        assert!(!key.matches("goosefs.worker.tieredstore.levelX.dirs.quota"));
        assert_eq!(key.numbered(3), "goosefs.worker.tieredstore.level3.dirs.quota");
    }

    #[test]
    fn the_variable_of_a_key() {
        assert_eq!(keys::MASTER_RPC_PORT.variable(), "GOOSEFS_MASTER_RPC_PORT");
    }
}
