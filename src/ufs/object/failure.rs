//! What went wrong at the service, told so that a person knows the mount, the reason and the remedy.

use super::transport::{Silent, is_of_tls};
use super::{Bucket, Kind};
use goosefs_core::{Code, Error};
use opendal::ErrorKind;

/// What the service itself calls the reason, and what to do about it.
const REASONS: &[(&str, Code, &str)] = &[
    (
        "InvalidAccessKeyId",
        Code::PermissionDenied,
        "the service does not know this key: check its id, and that it belongs to this service",
    ),
    // So says the gateway of Versity.
    (
        "XAdminUserNotFound",
        Code::PermissionDenied,
        "the service does not know this key: check its id, and that it belongs to this service",
    ),
    ("SignatureDoesNotMatch", Code::PermissionDenied, "the secret key does not belong to the key's id"),
    ("InvalidToken", Code::PermissionDenied, "the session token is not valid"),
    ("ExpiredToken", Code::PermissionDenied, "the session token has expired: give a new one"),
    ("AccessDenied", Code::PermissionDenied, "the key may not do this: check its rights for the bucket"),
    ("RequestTimeTooSkewed", Code::PermissionDenied, "set the clock of this machine"),
    ("RequestTimeTooSkew", Code::PermissionDenied, "set the clock of this machine"),
    ("NoSuchBucket", Code::Ufs, "check the bucket's name in the mount, the region and the endpoint"),
    ("PermanentRedirect", Code::Ufs, "the bucket lies in another region: set the region or the endpoint"),
    ("AuthorizationHeaderMalformed", Code::Ufs, "the bucket lies in another region: set the region"),
    ("IllegalLocationConstraintException", Code::Ufs, "the bucket lies in another region: set the region"),
];

/// The URI of a bucket, for people.
pub(super) fn uri(bucket: &Bucket) -> String {
    let scheme = if bucket.kind == Kind::S3 { "s3" } else { "cosn" };
    format!("{scheme}://{}/{}", bucket.name, bucket.prefix)
}

/// The error for settings of which no service can be made.
pub(super) fn misconfigured(bucket: &Bucket, error: &opendal::Error) -> Error {
    Error::new(Code::InvalidArgument, format!("mount {}: {}", uri(bucket), error.message()))
}

/// The error for `doing` ("look at s3://…"). Neither the text that the service sent nor the request is repeated as they
/// are: they may hold what the request was signed with.
pub(super) fn failed(doing: &str, error: &opendal::Error) -> Error {
    let new = |code: Code, why: &str| Error::new(code, format!("{doing}: {why}"));
    let reason = reason(error.message());
    match (error.kind(), reason) {
        (ErrorKind::NotFound, None | Some("NoSuchKey")) => return new(Code::NotFound, "does not exist"),
        (ErrorKind::ConditionNotMatch, _) => return new(Code::Stale, "was replaced in its storage"),
        _ => {}
    }
    if let Some(reason) = reason {
        let known = REASONS.iter().find(|(known, ..)| *known == reason);
        let code = match (error.kind(), known) {
            (_, Some((_, code, _))) => *code,
            (ErrorKind::PermissionDenied, None) => Code::PermissionDenied,
            (_, None) => Code::Ufs,
        };
        let error = new(code, &format!("the service says {reason}"));
        return known.map_or(error.clone(), |(.., remedy)| error.hint(*remedy));
    }
    if error.kind() == ErrorKind::PermissionDenied {
        return new(Code::PermissionDenied, "the service refuses it (403)")
            .hint("check the key and its rights for the bucket");
    }
    match cause(error) {
        Some(cause) => unreached(doing, cause),
        None => new(Code::Ufs, "the service answered with what is none of its answers")
            .hint("does the endpoint lead to an object storage, and is its scheme right?"),
    }
}

/// As [`failed`], for a listing: what has none is no directory that is not there, but no object storage.
pub(super) fn list_failed(doing: &str, error: &opendal::Error) -> Error {
    match failed(doing, error) {
        error if error.code == Code::NotFound => {
            Error::new(Code::Ufs, format!("{doing}: the service has no listing (404)"))
                .hint("check the endpoint and the bucket's name")
        }
        error => error,
    }
}

/// The error of a connection, from its innermost cause, which says what happened.
fn unreached(doing: &str, cause: &(dyn std::error::Error + 'static)) -> Error {
    let message = format!("{doing}: {cause}");
    if cause.is::<Silent>() {
        return Error::new(Code::DeadlineExceeded, message);
    }
    if is_of_tls(cause) {
        return Error::new(Code::Ufs, message)
            .hint("give the authority that signed its certificate as goosefs.underfs.object.tls.ca.file, or renew it");
    }
    if message.contains("credential") {
        return Error::new(
            Code::PermissionDenied,
            format!("{doing}: no credentials are set, and none were found"),
        )
        .hint("set them as mount options, properties or in the environment");
    }
    Error::new(Code::Ufs, message).hint("check the endpoint, and that it can be reached from this machine")
}

fn cause(error: &opendal::Error) -> Option<&(dyn std::error::Error + 'static)> {
    let mut cause: &(dyn std::error::Error + 'static) = std::error::Error::source(error)?;
    while let Some(inner) = cause.source().filter(|_| !is_of_tls(cause)) {
        cause = inner;
    }
    Some(cause)
}

/// The service's own word for the reason, out of the error that OpenDAL made of its answer.
fn reason(message: &str) -> Option<&str> {
    let code = message.split_once("code: \"")?.1.split('"').next()?;
    let fine = !code.is_empty()
        && code.len() <= 64
        && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    fine.then_some(code)
}
