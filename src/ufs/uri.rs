//! Where a mount points: the URIs that [`crate::connect`] understands.

use crate::object::{Bucket, Kind};
use goosefs_core::path::check_name;
use goosefs_core::{Code, Error, Result};
use percent_encoding::percent_decode_str;
use std::path::{Component, Path, PathBuf};
use url::Url;

/// What every error about a URI says is allowed.
const ALLOWED: &str = "allowed are /path, file:///path, http://host[:port]/path/, https://host[:port]/path/, s3://bucket/prefix and \
     cosn://bucket-appid/prefix";

/// A parsed mount URI.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Location {
    /// A directory of this machine, absolute and without `..`.
    Local(PathBuf),
    /// A directory of a web server; the path ends with a slash, there is no query, fragment or user.
    Web(Url),
    /// A part of a bucket of an object storage.
    Object(Bucket),
}

impl Location {
    /// Reads `text`; a plain path is taken as it is, a `file:` URI is percent-decoded.
    pub(crate) fn parse(text: &str) -> Result<Location> {
        if text.starts_with('/') {
            return local(text, text);
        }
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(refuse(text, "is neither an absolute path nor a URI"));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "file" => file(text, rest),
            "http" | "https" => web(text),
            "s3" | "s3a" => bucket(text, rest, Kind::S3),
            "cosn" => bucket(text, rest, Kind::Cos),
            _ => Err(refuse(text, &format!("has the scheme \"{scheme}\", for which there is no connector"))),
        }
    }
}

fn refuse(text: &str, why: &str) -> Error {
    Error::new(Code::InvalidArgument, format!("URI \"{text}\" {why}")).hint(ALLOWED)
}

fn file(text: &str, rest: &str) -> Result<Location> {
    let path = match rest.strip_prefix("//") {
        Some(after) => after.strip_prefix("localhost").unwrap_or(after),
        None => rest,
    };
    let decoded =
        percent_decode_str(path).decode_utf8().map_err(|_| refuse(text, "is not UTF-8 when decoded"))?;
    if !decoded.starts_with('/') {
        return Err(refuse(text, "names a host or a relative path"));
    }
    local(text, &decoded)
}

fn local(text: &str, path: &str) -> Result<Location> {
    let path = Path::new(path);
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(refuse(text, "has a \"..\" in it"));
    }
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(refuse(text, "has a NUL in it"));
    }
    Ok(Location::Local(path.components().collect()))
}

fn web(text: &str) -> Result<Location> {
    let mut url = Url::parse(text).map_err(|e| refuse(text, &format!("cannot be read: {e}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        // The text of the URI is not repeated: it holds a secret.
        return Err(Error::new(
            Code::InvalidArgument,
            "a web URI must not hold a user or password: it would be kept and shown in clear",
        )
        .hint(ALLOWED));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse(text, "has a query or fragment"));
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(Location::Web(url))
}

/// Keys are taken as they stand, not percent-decoded.
fn bucket(text: &str, rest: &str, kind: Kind) -> Result<Location> {
    if rest.contains('@') {
        // The text of the URI is not repeated: it may hold a secret.
        return Err(Error::new(
            Code::InvalidArgument,
            "the URI of a bucket must not hold a key: it would be kept and shown in clear",
        )
        .hint("give it as mount option"));
    }
    let Some(rest) = rest.strip_prefix("//") else { return Err(refuse(text, "names no bucket")) };
    let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if name.is_empty() || !name.bytes().all(fine) {
        return Err(refuse(
            text,
            "names no bucket: its letters, digits, dots and dashes end at the first slash",
        ));
    }
    let prefix = prefix.trim_end_matches('/');
    if !prefix.is_empty() && prefix.split('/').any(|part| check_name(part).is_err()) {
        return Err(refuse(text, "has an empty name, \".\" or \"..\" in it, or one that is too long"));
    }
    Ok(Location::Object(Bucket { kind, name: name.to_owned(), prefix: prefix.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_is_read() {
        let local = |path: &str| Location::Local(PathBuf::from(path));
        assert_eq!(Location::parse("/a/b//c/").unwrap(), local("/a/b/c"));
        assert_eq!(Location::parse("/100%").unwrap(), local("/100%"));
        assert_eq!(Location::parse("file:///a%20b").unwrap(), local("/a b"));
        assert_eq!(Location::parse("file:/a").unwrap(), local("/a"));
        assert_eq!(Location::parse("file://localhost/a").unwrap(), local("/a"));
        for (text, url) in [
            ("http://h", "http://h/"),
            ("HTTPS://h:8443/a/b", "https://h:8443/a/b/"),
            ("http://h/a%20b/", "http://h/a%20b/"),
        ] {
            assert_eq!(Location::parse(text).unwrap(), Location::Web(Url::parse(url).unwrap()), "{text}");
        }
        for (text, kind, name, prefix) in [
            ("s3://bucket", Kind::S3, "bucket", ""),
            ("s3a://my.bucket/a b/100%25/", Kind::S3, "my.bucket", "a b/100%25"),
            ("cosn://b-1250000000/x", Kind::Cos, "b-1250000000", "x"),
        ] {
            let bucket = Bucket { kind, name: name.to_owned(), prefix: prefix.to_owned() };
            assert_eq!(Location::parse(text).unwrap(), Location::Object(bucket), "{text}");
        }
    }

    #[test]
    fn what_is_not_allowed_is_refused_and_told() {
        for text in [
            "",
            "a/b",
            "/a/../b",
            "file://host/a",
            "file:a",
            "hdfs://h/a",
            "http://",
            "http://h/?a",
            "http://h/#a",
            "http://[::/",
            "http://h:99999/",
            "s3:bucket",
            "s3:///key",
            "s3://bucket/a//b",
            "cosn://bucket/../x",
            "s3://b?x/y",
        ] {
            let error = Location::parse(text).unwrap_err();
            assert_eq!(error.code, Code::InvalidArgument, "{text}");
            assert!(error.message.contains(text) && error.hint.contains("https://"), "{error}");
        }
    }

    #[test]
    fn a_password_is_refused_and_not_repeated() {
        for text in ["http://user:geheim@h/", "s3://id:geheim@bucket/x"] {
            let error = Location::parse(text).unwrap_err();
            assert!(!error.to_string().contains("geheim"), "{error}");
        }
    }
}
