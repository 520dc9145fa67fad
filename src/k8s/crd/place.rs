//! Where a backup is: `pvc://CLAIM/PATH` or `local:///PATH`.

use goosefs_core::{Code, Error, Result};

/// Where a backup is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// On a claim's volume.
    Claim {
        /// The claim.
        name: String,
        /// The path in it, without a slash at its ends.
        path: String,
    },
    /// On a node.
    Local {
        /// The absolute path.
        path: String,
    },
}

impl Place {
    /// # Errors
    /// `InvalidArgument` saying what is allowed.
    pub fn parse(text: &str) -> Result<Place> {
        let wrong = || {
            Error::new(Code::InvalidArgument, format!("\"{text}\" is no place for a backup"))
                .hint("pvc://CLAIM/PATH or local:///PATH, without .. in it")
        };
        if text.split('/').any(|part| part == "..") {
            return Err(wrong());
        }
        if let Some(rest) = text.strip_prefix("pvc://") {
            let (name, path) = rest.split_once('/').unwrap_or((rest, ""));
            if name.is_empty() {
                return Err(wrong());
            }
            return Ok(Place::Claim { name: name.to_owned(), path: path.trim_matches('/').to_owned() });
        }
        match text.strip_prefix("local://") {
            Some(path) if path.starts_with('/') => {
                Ok(Place::Local { path: format!("/{}", path.trim_matches('/')) })
            }
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_claims_or_folders_of_a_node() {
        let claim = |name: &str, path: &str| Place::Claim { name: name.into(), path: path.into() };
        assert_eq!(Place::parse("pvc://c/a/b/").unwrap(), claim("c", "a/b"));
        assert_eq!(Place::parse("pvc://c").unwrap(), claim("c", ""));
        assert_eq!(Place::parse("local:///a/b").unwrap(), Place::Local { path: "/a/b".into() });
        for wrong in ["", "/a", "local://a", "pvc:///a", "pvc://c/../d", "s3://b/k"] {
            assert_eq!(Place::parse(wrong).unwrap_err().code, Code::InvalidArgument, "{wrong}");
        }
    }
}
