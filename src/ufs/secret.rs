//! Credentials of storages: which settings they are, and where their values lie.
//!
//! The settings of a mount go through the masters' log, snapshots and backups and are shown to people, so a credential
//! among them is a reference, `${file:/path}` or `${env:NAME}`, that each master and worker reads where it runs. Values
//! themselves may stand in the properties of a process, and in the file of mounts that masters and workers have
//! (`goosefs.master.mounts.file`): to others a master tells `${mounts:FILE#PATH}` for them. Called by whoever makes, shows or connects mounts.

use goosefs_core::path::NsPath;
use goosefs_core::{Code, Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// Settings that are credentials of a storage.
const CREDENTIALS: [&str; 9] = [
    "aws.accessKeyId",
    "aws.secretKey",
    "aws.sessionToken",
    "s3a.accessKeyId",
    "s3a.secretKey",
    "s3a.sessionToken",
    "fs.cosn.userinfo.secretId",
    "fs.cosn.userinfo.secretKey",
    "fs.cosn.userinfo.sessionToken",
];

/// Parts of names whose values are not shown, whatever they are for.
const TELLING: [&str; 6] = ["secret", "password", "token", "credential", "accesskey", "access.key"];

/// Shown in place of a value.
pub const HIDDEN: &str = "******";

/// What a person can do instead of giving a value.
const INSTEAD: &str = "give ${file:/path} or ${env:NAME}, which every master and worker reads for itself, or set the \
                       property of that name in goosefs-site.properties";

/// Where a value lies.
enum Reference<'a> {
    File(&'a str),
    Variable(&'a str),
    /// In a file of mounts, by the path of the mount.
    Mounts(&'a str, &'a str),
}

impl Reference<'_> {
    fn of(value: &str) -> Option<Reference<'_>> {
        let inner = value.strip_prefix("${")?.strip_suffix('}')?;
        let (kind, place) = inner.split_once(':')?;
        match kind {
            "file" => Some(Reference::File(place)),
            "env" => Some(Reference::Variable(place)),
            "mounts" => place.split_once('#').map(|(file, path)| Reference::Mounts(file, path)),
            _ => None,
        }
    }
}

/// What may be shown of the setting `name`: a credential's value never, a reference always.
#[must_use]
pub fn shown<'a>(name: &str, value: &'a str) -> &'a str {
    let lower = name.to_ascii_lowercase();
    let telling = TELLING.iter().any(|part| lower.contains(part));
    if telling && Reference::of(value).is_none() { HIDDEN } else { value }
}

/// Refuses settings of a mount that hold a credential itself.
///
/// # Errors
/// `InvalidArgument` naming the setting and not its value.
pub fn check_mount<'a>(options: impl IntoIterator<Item = (&'a String, &'a String)>) -> Result<()> {
    let plain = |(name, value): &(&String, &String)| {
        CREDENTIALS.contains(&name.as_str()) && Reference::of(value).is_none()
    };
    match options.into_iter().find(plain) {
        None => Ok(()),
        Some((name, _)) => {
            let message =
                format!("mount option {name} holds a credential, which would be kept in the masters' log");
            Err(Error::new(Code::InvalidArgument, message).hint(INSTEAD))
        }
    }
}

/// Refuses definitions (`name=value`) of a command line that hold a credential itself: whoever lists processes sees it.
///
/// # Errors
/// `InvalidArgument` naming the setting and not its value.
pub fn check_command_line(definitions: &[String]) -> Result<()> {
    let mut split = definitions.iter().filter_map(|definition| definition.split_once('='));
    match split.find(|(name, value)| CREDENTIALS.contains(name) && Reference::of(value).is_none()) {
        None => Ok(()),
        Some((name, _)) => {
            let message =
                format!("-D{name} holds a credential, which everybody sees who lists the processes");
            Err(Error::new(Code::InvalidArgument, message).hint(INSTEAD))
        }
    }
}

/// The settings of the mount at `path` as they may be told to anybody: instead of a credential itself, where it lies in
/// `file`, the file of mounts that it comes from.
#[must_use]
pub fn told(file: &Path, path: &str, mut options: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let plain = |(name, value): &(&String, &mut String)| {
        CREDENTIALS.contains(&name.as_str()) && Reference::of(value).is_none()
    };
    for (_, value) in options.iter_mut().filter(plain) {
        *value = format!("${{mounts:{}#{path}}}", file.display());
    }
    options
}

/// What the file of mounts `file` has for the setting `name` of the mount at `path`.
fn in_mounts(file: &str, path: &str, name: &str) -> Option<String> {
    let all: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()?;
    let at = |mount: &&serde_json::Value| {
        mount["path"].as_str().and_then(|at| NsPath::parse(at).ok()).is_some_and(|at| at.as_str() == path)
    };
    let mount = all["mounts"].as_array()?.iter().find(at)?;
    mount["options"][name].as_str().map(str::to_owned)
}

/// The credential `value` of the setting `name`, got from where it lies. Blocks for the reading of a small file.
///
/// # Errors
/// `InvalidArgument` naming the setting and the place that has nothing.
pub(crate) fn resolve(name: &str, value: &str) -> Result<String> {
    let refuse = |why: String| {
        let hint = "every master and worker needs it; those of a storage are read where they run";
        Error::new(Code::InvalidArgument, format!("setting {name}: {why}")).hint(hint)
    };
    let found = match Reference::of(value) {
        None => value.to_owned(),
        Some(Reference::File(path)) => std::fs::read_to_string(path)
            .map_err(|cause| refuse(format!("file {path} cannot be read: {cause}")).caused_by(cause))?,
        Some(Reference::Mounts(file, path)) => in_mounts(file, path, name)
            .ok_or_else(|| refuse(format!("the file of mounts {file} has none for {path}")))?,
        Some(Reference::Variable(variable)) => std::env::var(variable)
            .map_err(|_| refuse(format!("environment variable {variable} is not set")))?,
    };
    let found = found.trim();
    // What a header could not carry is no key; the text is not repeated.
    if found.is_empty() || !found.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(refuse("is empty, or has characters in it that no key has".to_owned()));
    }
    Ok(found.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn credentials_are_masked_and_references_are_shown() {
        assert_eq!(shown("fs.cosn.userinfo.secretKey", "geheim"), "******");
        assert_eq!(shown("aws.accessKeyId", "geheim"), "******");
        assert_eq!(shown("aws.secretKey", "${file:/run/key}"), "${file:/run/key}");
        assert_eq!(shown("fs.cosn.bucket.region", "ap-x"), "ap-x");
    }

    #[test]
    fn a_mount_with_a_credential_in_it_is_refused_and_the_credential_not_repeated() {
        for name in CREDENTIALS {
            let error = check_mount(&of(name, "geheim")).unwrap_err();
            assert_eq!(error.code, Code::InvalidArgument);
            assert!(error.message.contains(name) && !format!("{error:?}").contains("geheim"), "{error:?}");
            check_mount(&of(name, "${env:X}")).unwrap();
        }
        check_mount(&of("fs.cosn.bucket.region", "ap-x")).unwrap();
    }

    #[test]
    fn a_command_line_with_a_credential_in_it_is_refused() {
        let check = |definition: &str| check_command_line(&["a=b".to_owned(), definition.to_owned()]);
        let error = check("aws.secretKey=geheim").unwrap_err();
        assert!(
            error.message.contains("-Daws.secretKey") && !error.to_string().contains("geheim"),
            "{error}"
        );
        check("aws.secretKey=${file:/run/key}").unwrap();
        check("goosefs.underfs.s3.region=x").unwrap();
    }

    #[test]
    fn of_a_file_of_mounts_only_the_place_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mounts.json");
        let text = r#"{"generation": 1, "mounts": [{"path": "/a", "options": {}},
            {"path": "/b/", "uri": "s3://b", "options": {"aws.secretKey": "geheim", "x": "1"}}]}"#;
        std::fs::write(&file, text).unwrap();
        let mut options = of("aws.secretKey", "geheim");
        options.insert("x".to_owned(), "1".to_owned());
        let told = told(&file, "/b", options);
        assert!(!format!("{told:?}").contains("geheim") && told["x"] == "1", "{told:?}");
        check_mount(&told).unwrap();
        assert_eq!(resolve("aws.secretKey", &told["aws.secretKey"]).unwrap(), "geheim");
        for path in ["/a", "/c"] {
            let reference = format!("${{mounts:{}#{path}}}", file.display());
            let error = resolve("aws.secretKey", &reference).unwrap_err();
            assert!(error.message.contains(path) && !error.message.contains("geheim"), "{error}");
        }
    }

    #[test]
    fn references_are_read_where_they_lead() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "geheim\n").unwrap();
        let reference = format!("${{file:{}}}", file.display());
        assert_eq!(resolve("aws.secretKey", &reference).unwrap(), "geheim");
        assert_eq!(resolve("aws.secretKey", "plain").unwrap(), "plain");
        for (value, named) in
            [("${file:/no/where}", "/no/where"), ("${env:NO_SUCH_VARIABLE}", "NO_SUCH_VARIABLE")]
        {
            let error = resolve("aws.secretKey", value).unwrap_err();
            assert!(error.message.contains(named) && error.message.contains("aws.secretKey"), "{error}");
        }
        let error = resolve("aws.secretKey", "two words").unwrap_err();
        assert!(!error.to_string().contains("two"), "{error}");
    }
}
