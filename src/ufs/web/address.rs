//! From paths below a mount to URLs and back.

use goosefs_core::path::check_name;
use goosefs_core::{Code, Error, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

/// Everything but the unreserved characters of RFC 3986 is encoded, so no name can mean anything else to a server.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Whether an address is asked for as file or as directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum As {
    File,
    Directory,
}

/// The URL of `path` below `base` (which ends with a slash): with a trailing slash for a directory.
///
/// Errors: `InvalidPath` and `NameTooLong` as `core::path::check_name` says.
pub(super) fn url_of(base: &Url, path: &str, what: As) -> Result<Url> {
    if path.is_empty() {
        return Ok(base.clone());
    }
    let mut encoded = base.path().to_owned();
    for (index, name) in path.split('/').enumerate() {
        check_name(name)?;
        if index > 0 {
            encoded.push('/');
        }
        encoded.extend(utf8_percent_encode(name, ENCODED));
    }
    if what == As::Directory {
        encoded.push('/');
    }
    let mut url = base.clone();
    url.set_path(&encoded);
    Ok(url)
}

/// Where a redirect from `from` to `location` may be followed to: only below `base`.
///
/// Errors: `Ufs` naming both addresses.
pub(super) fn redirected(base: &Url, from: &Url, location: &str) -> Result<Url> {
    let refuse = |to: &str| {
        Error::new(Code::Ufs, format!("{from} redirects to {to}, which is not below {base}"))
            .hint("mount the address that it redirects to")
    };
    let to = from.join(location).map_err(|_| refuse(location))?;
    let below = to.origin() == base.origin() && to.path().starts_with(base.path());
    if below && to.query().is_none() { Ok(to) } else { Err(refuse(to.as_str())) }
}

/// Whether `location`, the redirect of a request for `from`, only adds the slash that directories have. The host is not
/// compared: behind a proxy servers often name themselves wrongly there, and nothing is sent to it.
pub(super) fn adds_a_slash(from: &Url, location: &str) -> bool {
    from.join(location)
        .is_ok_and(|to| to.path().strip_suffix('/').is_some_and(|path| same(path, from.path())))
}

/// Whether two URL paths are the same once decoded; servers encode differently.
fn same(a: &str, b: &str) -> bool {
    a == b || percent_encoding::percent_decode_str(a).eq(percent_encoding::percent_decode_str(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Url {
        Url::parse("http://h/x/").unwrap()
    }

    #[test]
    fn names_are_encoded_and_survive() {
        for name in ["a b", "100%", "%2e%2e", "a#b", "a&b+c", "'\"", "中文", "😀", "a:b?c;d", "a\\b", "~-_."]
        {
            let url = url_of(&base(), &format!("d/{name}"), As::File).unwrap();
            let last = url.path_segments().unwrap().next_back().unwrap().to_owned();
            assert_eq!(percent_encoding::percent_decode_str(&last).decode_utf8().unwrap(), name);
            assert!(url.as_str().starts_with("http://h/x/d/") && url.query().is_none(), "{url}");
        }
        assert_eq!(url_of(&base(), "d", As::Directory).unwrap().as_str(), "http://h/x/d/");
        assert_eq!(url_of(&base(), "", As::Directory).unwrap(), base());
        assert!(url_of(&base(), "../y", As::File).is_err());
    }

    #[test]
    fn redirects_stay_below_the_base() {
        let from = Url::parse("http://h/x/a").unwrap();
        assert_eq!(redirected(&base(), &from, "/x/b").unwrap().as_str(), "http://h/x/b");
        for location in ["/y", "../y", "https://h/x/a", "http://other/x/a", "/x/login?back=a", "http://[::"] {
            assert_eq!(redirected(&base(), &from, location).unwrap_err().code, Code::Ufs, "{location}");
        }
    }

    #[test]
    fn an_added_slash_is_seen() {
        let from = Url::parse("http://h/x/a%20b").unwrap();
        assert!(adds_a_slash(&from, "http://inner:8080/x/a%20b/"));
        assert!(adds_a_slash(&from, "/x/a%20b/"));
        assert!(!adds_a_slash(&from, "/x/other/"));
        assert!(!adds_a_slash(&from, "/x/a%20b"));
    }
}
