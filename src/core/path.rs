//! Paths of the namespace: absolute, `/`-separated, with no empty, `.` or `..` component.
//!
//! Names are UTF-8 and at most 255 bytes (Linux `NAME_MAX`); paths are at most 4095 bytes (`PATH_MAX` less its NUL).

use crate::error::{Code, Error, Result};
use std::fmt;

/// Longest name of one entry, in bytes.
pub const NAME_MAX: usize = 255;

/// Longest path, in bytes.
pub const PATH_MAX: usize = 4095;

/// An absolute, normalised path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NsPath(String);

impl NsPath {
    /// `/`.
    #[must_use]
    pub fn root() -> NsPath {
        NsPath("/".to_owned())
    }

    /// Reads a path as users and clients write it: repeated and trailing slashes are dropped, a `gfs://host:port`
    /// prefix is taken off.
    ///
    /// # Errors
    /// `InvalidPath` when the path is not absolute, has a `.` or `..` component or a NUL, or a part of it is too long.
    pub fn parse(text: &str) -> Result<NsPath> {
        let local = match text.strip_prefix("gfs://") {
            Some(rest) => rest.find('/').map_or("/", |slash| &rest[slash..]),
            None => text,
        };
        if !local.starts_with('/') {
            return Err(Error::new(Code::InvalidPath, format!("path \"{text}\" is not absolute")));
        }
        let mut normal = String::with_capacity(local.len());
        for name in local.split('/').filter(|name| !name.is_empty()) {
            check_name(name).map_err(|e| Error::new(e.code, format!("path \"{text}\": {}", e.message)))?;
            normal.push('/');
            normal.push_str(name);
        }
        if normal.len() > PATH_MAX {
            return Err(Error::new(
                Code::NameTooLong,
                format!("a path of {} bytes is over {PATH_MAX}", normal.len()),
            ));
        }
        if normal.is_empty() {
            normal.push('/');
        }
        Ok(NsPath(normal))
    }

    /// The path as text, `/` for the root and without a trailing slash otherwise.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `/`.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0 == "/"
    }

    /// The names from the root down.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|name| !name.is_empty())
    }

    /// The last name; `None` for the root.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.rsplit('/').next().filter(|name| !name.is_empty())
    }

    /// The directory this lies in; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<NsPath> {
        let name = self.name()?;
        let end = self.0.len() - name.len() - 1;
        Some(if end == 0 { NsPath::root() } else { NsPath(self.0[..end].to_owned()) })
    }

    /// `name` within this directory.
    ///
    /// # Errors
    /// `InvalidPath` or `NameTooLong` as [`check_name`] says.
    pub fn join(&self, name: &str) -> Result<NsPath> {
        check_name(name)?;
        Ok(if self.is_root() { NsPath(format!("/{name}")) } else { NsPath(format!("{}/{name}", self.0)) })
    }

    /// What follows `ancestor`, without a leading slash: `Some("")` for the same path, `None` when it is no ancestor.
    #[must_use]
    pub fn strip_prefix(&self, ancestor: &NsPath) -> Option<&str> {
        if ancestor.is_root() {
            return Some(&self.0[1..]);
        }
        let rest = self.0.strip_prefix(ancestor.as_str())?;
        if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
    }
}

impl fmt::Display for NsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Whether `name` may be the name of a directory entry.
///
/// # Errors
/// `InvalidPath` when it is empty, `.`, `..`, or holds a slash or NUL; `NameTooLong` over [`NAME_MAX`] bytes.
pub fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(Error::new(Code::InvalidPath, format!("\"{name}\" cannot be the name of an entry")));
    }
    if name.len() > NAME_MAX {
        return Err(Error::new(
            Code::NameTooLong,
            format!("a name of {} bytes is over {NAME_MAX}", name.len()),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_and_scheme_are_normalised() {
        for text in ["/a/b", "//a///b/", "gfs://h:9200/a/b", "gfs://h1:1,h2:2/a/b/"] {
            assert_eq!(NsPath::parse(text).unwrap().as_str(), "/a/b", "{text}");
        }
        assert!(NsPath::parse("/").unwrap().is_root());
        assert!(NsPath::parse("gfs://h").unwrap().is_root());
    }

    #[test]
    fn what_is_not_a_path_is_refused_by_name() {
        for text in ["", "a/b", "/a/../b", "/a/./b", "/a\0b", "http://x/y"] {
            let error = NsPath::parse(text).unwrap_err();
            assert_eq!(error.code, Code::InvalidPath, "{text}");
        }
        assert_eq!(NsPath::parse(&format!("/{}", "x".repeat(256))).unwrap_err().code, Code::NameTooLong);
    }

    #[test]
    fn parents_names_and_prefixes() {
        let path = NsPath::parse("/a/b/c").unwrap();
        assert_eq!(path.name(), Some("c"));
        assert_eq!(path.parent().unwrap().as_str(), "/a/b");
        assert_eq!(NsPath::parse("/a").unwrap().parent().unwrap(), NsPath::root());
        assert_eq!(NsPath::root().parent(), None);
        assert_eq!(path.strip_prefix(&NsPath::parse("/a").unwrap()), Some("b/c"));
        assert_eq!(path.strip_prefix(&NsPath::root()), Some("a/b/c"));
        assert_eq!(path.strip_prefix(&NsPath::parse("/a/bb").unwrap()), None);
        assert_eq!(path.strip_prefix(&path), Some(""));
    }
}
