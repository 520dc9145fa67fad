//! What a mount of a bucket may set, under the names that GooseFS, Alluxio and Hadoop's COS connector know.

use crate::secret;
use goosefs_core::config::value;
use goosefs_core::{Code, Error, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of every kind of bucket begin with this.
const EVERY: &str = "goosefs.underfs.object.";

const ALLOWED_OF_EVERY: &str = "goosefs.underfs.object.connection.timeout, .header.timeout, .stall.timeout (such as 500ms, 30s, 1min), .retries (0 to \
     20), .upload.part.size (5MB to 1GB) and .tls.ca.file";
const ALLOWED_OF_S3: &str = "allowed are aws.accessKeyId, aws.secretKey, aws.sessionToken (or s3a.…), goosefs.underfs.s3.endpoint, \
                             .region, .disable.dns.buckets, .anonymous";
const ALLOWED_OF_COS: &str = "allowed are fs.cosn.userinfo.secretId, .secretKey, .sessionToken, fs.cosn.bucket.region, \
                              fs.cosn.bucket.endpoint_suffix, fs.cosn.upload.part.size";

/// Names that stand in everybody's examples and say nothing here: a class of Java, the id that a bucket's name ends with.
const MEANINGLESS: [&str; 8] = [
    "fs.cosn.impl",
    "fs.AbstractFileSystem.cosn.impl",
    "fs.cosn.userinfo.appid",
    "fs.cosn.userinfo.region",
    "fs.cosn.credentials.provider",
    "goosefs.underfs.s3.inherit.acl",
    "goosefs.underfs.s3.disable.inherit.acl",
    "goosefs.underfs.s3.signer.algorithm",
];

/// Whose bucket it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Amazon's, or one that speaks as S3 does.
    S3,
    /// Tencent Cloud's.
    Cos,
}

/// A credential as it is set: itself or a reference, never shown.
#[derive(Clone, PartialEq, Eq)]
struct Setting {
    name: String,
    value: String,
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, secret::shown(&self.name, &self.value))
    }
}

/// The credentials of a mount as they are at the moment.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Credentials {
    /// Who signs.
    pub(super) id: String,
    /// What signs.
    pub(super) secret: String,
    /// Of credentials that end by themselves.
    pub(super) token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

/// The options of a mount, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Options {
    /// How long connecting may take, TLS included.
    pub(super) connection_timeout: Duration,
    /// How long one request may wait for the head of its answer, beside the time that its body takes.
    pub(super) header_timeout: Duration,
    /// How long a body may bring nothing.
    pub(super) stall_timeout: Duration,
    /// How often a request is sent again after a failure that may pass.
    pub(super) retries: u32,
    /// Bytes of a part of an upload, from which on uploads have several.
    pub(super) part_size: usize,
    /// Certificates (PEM) to trust beside the machine's own.
    pub(super) ca_file: Option<PathBuf>,
    /// Where the service is: with scheme for S3, perhaps without for COS.
    pub(super) endpoint: Option<String>,
    /// The region.
    pub(super) region: Option<String>,
    /// The bucket's name stands in the path and not before the host; nobody said.
    pub(super) path_style: Option<bool>,
    /// Requests are not signed.
    pub(super) anonymous: bool,
    id: Option<Setting>,
    secret: Option<Setting>,
    token: Option<Setting>,
}

impl Options {
    fn usual() -> Options {
        Options {
            connection_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
            retries: 4,
            part_size: 8 << 20,
            ca_file: None,
            endpoint: None,
            region: None,
            path_style: None,
            anonymous: false,
            id: None,
            secret: None,
            token: None,
        }
    }

    /// Reads the options of a mount; those of other connectors pass, and of two that set the same the later wins.
    ///
    /// Errors: `InvalidArgument` naming the option.
    pub(crate) fn read(kind: Kind, options: &[&BTreeMap<String, String>]) -> Result<Options> {
        let mut read = Options::usual();
        for (name, value) in options.iter().copied().flatten() {
            let plain = plain(name);
            let known = match plain.strip_prefix(EVERY) {
                Some(rest) => read.set(rest, value),
                None if kind == Kind::S3 => read.set_s3(&plain, value),
                None => read.set_cos(&plain, value),
            };
            if known == Some(false) {
                let message = format!("mount option \"{name}\" cannot be \"{}\"", secret::shown(name, value));
                return Err(Error::new(Code::InvalidArgument, message).hint(allowed(kind)));
            }
        }
        match (&read.id, &read.secret) {
            (Some(one), None) | (None, Some(one)) => {
                let message = format!("only one of key and its id is given: {one:?}");
                Err(Error::new(Code::InvalidArgument, message).hint(allowed(kind)))
            }
            _ => Ok(read),
        }
    }

    /// Whether `value` can be what `name` sets; nothing for another connector's name.
    fn set(&mut self, name: &str, value: &str) -> Option<bool> {
        Some(match name {
            "connection.timeout" => put(&mut self.connection_timeout, duration(value)),
            "header.timeout" => put(&mut self.header_timeout, duration(value)),
            "stall.timeout" => put(&mut self.stall_timeout, duration(value)),
            "retries" => put(&mut self.retries, value.parse().ok().filter(|n| *n <= 20)),
            "upload.part.size" => put(&mut self.part_size, part_size(value)),
            "tls.ca.file" => put(&mut self.ca_file, Some(Some(PathBuf::from(value)))),
            _ => return None,
        })
    }

    fn set_s3(&mut self, name: &str, value: &str) -> Option<bool> {
        Some(match name {
            "aws.accessKeyId" | "s3a.accessKeyId" => put(&mut self.id, Some(setting(name, value))),
            "aws.secretKey" | "s3a.secretKey" => put(&mut self.secret, Some(setting(name, value))),
            "aws.sessionToken" | "s3a.sessionToken" => put(&mut self.token, Some(setting(name, value))),
            "goosefs.underfs.s3.endpoint" => put(&mut self.endpoint, endpoint(value).map(Some)),
            "goosefs.underfs.s3.region" | "goosefs.underfs.s3.endpoint.region" => {
                put(&mut self.region, word(value).map(Some))
            }
            "goosefs.underfs.s3.disable.dns.buckets" => {
                put(&mut self.path_style, value::truth(value).map(Some))
            }
            "goosefs.underfs.s3.anonymous" => put(&mut self.anonymous, value::truth(value)),
            _ => return None,
        })
    }

    fn set_cos(&mut self, name: &str, value: &str) -> Option<bool> {
        Some(match name {
            "fs.cosn.userinfo.secretId" => put(&mut self.id, Some(setting(name, value))),
            "fs.cosn.userinfo.secretKey" => put(&mut self.secret, Some(setting(name, value))),
            "fs.cosn.userinfo.sessionToken" => put(&mut self.token, Some(setting(name, value))),
            "fs.cosn.bucket.region" => put(&mut self.region, word(value).map(Some)),
            "fs.cosn.bucket.endpoint_suffix" => put(&mut self.endpoint, endpoint(value).map(Some)),
            "fs.cosn.upload.part.size" => put(&mut self.part_size, part_size(value)),
            _ => return None,
        })
    }

    /// The credentials as they are now, if any are set. Blocks for the reading of small files.
    ///
    /// Errors: `InvalidArgument` naming the option whose reference leads nowhere.
    pub(super) fn credentials(&self) -> Result<Option<Credentials>> {
        let get = |setting: &Setting| secret::resolve(&setting.name, &setting.value);
        let (Some(id), Some(secret)) = (&self.id, &self.secret) else { return Ok(None) };
        let token = self.token.as_ref().map(get).transpose()?;
        Ok(Some(Credentials { id: get(id)?, secret: get(secret)?, token }))
    }
}

/// Refuses a name that means nothing to a bucket of `kind`; what stands in everybody's examples passes.
///
/// Errors: `InvalidArgument` naming the option and what is allowed.
pub(crate) fn check_names(kind: Kind, uri: &str, options: &BTreeMap<String, String>) -> Result<()> {
    for name in options.keys() {
        let plain = plain(name);
        let mut read = Options::usual();
        // A value is needed to ask; whether it can be is another question.
        let known = match plain.strip_prefix(EVERY) {
            Some(rest) => read.set(rest, ""),
            None if kind == Kind::S3 => read.set_s3(&plain, ""),
            None => read.set_cos(&plain, ""),
        };
        if known.is_none() && !MEANINGLESS.contains(&plain.as_str()) {
            let message = format!("mount option \"{name}\" means nothing to {uri}");
            return Err(Error::new(Code::InvalidArgument, message).hint(allowed(kind)));
        }
    }
    Ok(())
}

fn allowed(kind: Kind) -> String {
    let own = if kind == Kind::S3 { ALLOWED_OF_S3 } else { ALLOWED_OF_COS };
    format!("{own}, {ALLOWED_OF_EVERY}")
}

/// The name without the prefix of GooseFS's ancestor.
fn plain(name: &str) -> String {
    name.strip_prefix("alluxio.").map_or_else(|| name.to_owned(), |rest| format!("goosefs.{rest}"))
}

fn setting(name: &str, value: &str) -> Option<Setting> {
    Some(Setting { name: name.to_owned(), value: value.to_owned() })
}

/// Puts `value` into `field`; false when it could not be read. Nothing in an optional field is no value.
fn put<T>(field: &mut T, value: Option<T>) -> bool {
    let allowed = value.is_some();
    if let Some(value) = value {
        *field = value;
    }
    allowed
}

fn duration(text: &str) -> Option<Duration> {
    value::duration(text).flatten().filter(|timeout| !timeout.is_zero())
}

fn part_size(text: &str) -> Option<usize> {
    let bytes = value::size(text).filter(|bytes| (5 << 20..=1 << 30).contains(bytes))?;
    usize::try_from(bytes).ok()
}

/// One word of letters, digits and dashes, as regions are.
fn word(text: &str) -> Option<String> {
    let text = text.trim();
    let fine = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    fine.then(|| text.to_owned())
}

/// `host[:port]`, perhaps with a scheme before it; no path, no user.
fn endpoint(text: &str) -> Option<String> {
    let text = text.trim().trim_end_matches('/');
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let url = url::Url::parse(&with_scheme).ok()?;
    let fine = matches!(url.scheme(), "http" | "https")
        && url.host().is_some()
        && url.path() == "/"
        && url.query().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    fine.then_some(with_scheme)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_names_of_alluxio_and_hadoop_are_read() {
        let read = Options::read(
            Kind::S3,
            &[
                &of(&[("s3a.secretKey", "of the process"), ("goosefs.underfs.object.retries", "1")]),
                &of(&[
                    ("aws.accessKeyId", "id"),
                    ("aws.secretKey", "key"),
                    ("alluxio.underfs.s3.endpoint", "http://127.0.0.1:9000/"),
                    ("alluxio.underfs.s3.disable.dns.buckets", "true"),
                    ("goosefs.underfs.s3.endpoint.region", "eu-x"),
                    ("goosefs.underfs.object.retries", "0"),
                    ("fs.cosn.bucket.region", "other"),
                ]),
            ],
        )
        .unwrap();
        assert_eq!(read.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
        assert_eq!((read.path_style, read.region.as_deref(), read.retries), (Some(true), Some("eu-x"), 0));
        let credentials = read.credentials().unwrap().unwrap();
        assert_eq!((credentials.id.as_str(), credentials.secret.as_str()), ("id", "key"));
        let cos = of(&[
            ("fs.cosn.bucket.endpoint_suffix", "cos.ap-x.myqcloud.com"),
            ("fs.cosn.upload.part.size", "16MB"),
        ]);
        let read = Options::read(Kind::Cos, &[&cos]).unwrap();
        assert_eq!(read.endpoint.as_deref(), Some("https://cos.ap-x.myqcloud.com"));
        assert_eq!((read.part_size, read.credentials().unwrap()), (16 << 20, None));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name_and_keys_are_not_shown() {
        for (name, value) in [
            ("goosefs.underfs.s3.endpoint", "ftp://h"),
            ("goosefs.underfs.s3.endpoint", "http://user:geheim@h"),
            ("goosefs.underfs.s3.region", "a b"),
            ("goosefs.underfs.object.retries", "21"),
            ("goosefs.underfs.object.upload.part.size", "1MB"),
            ("goosefs.underfs.object.stall.timeout", "0s"),
            ("aws.secretKey", "geheim"),
        ] {
            let error = Options::read(Kind::S3, &[&of(&[(name, value)])]).unwrap_err();
            assert_eq!(error.code, Code::InvalidArgument, "{name}");
            assert!(error.message.contains(name), "{error}");
            assert!(name != "aws.secretKey" || !format!("{error:?}").contains("geheim"), "{error:?}");
        }
        let options = of(&[("aws.secretKey", "geheim"), ("aws.accessKeyId", "geheim")]);
        let read = Options::read(Kind::S3, &[&options]).unwrap();
        assert!(!format!("{read:?} {:?}", read.credentials().unwrap()).contains("geheim"), "{read:?}");
    }

    #[test]
    fn names_of_others_are_refused_and_those_of_everybodys_examples_pass() {
        let check = |kind, name| check_names(kind, "the mount", &of(&[(name, "x")]));
        for name in ["fs.cosn.impl", "fs.cosn.userinfo.appid", "fs.cosn.userinfo.secretId"] {
            check(Kind::Cos, name).unwrap();
        }
        check(Kind::S3, "alluxio.underfs.s3.disable.inherit.acl").unwrap();
        for (kind, name) in
            [(Kind::S3, "fs.cosn.bucket.region"), (Kind::Cos, "aws.secretKey"), (Kind::S3, "colour")]
        {
            let error = check(kind, name).unwrap_err();
            assert!(error.message.contains(name) && error.message.contains("the mount"), "{error}");
        }
    }
}
