//! The five sources and their order.

use super::keys;
use super::properties::{Properties, Source};
use crate::error::{Code, Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The environment of a process, as plain data.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, String>);

/// What the command line adds.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `-Dkey=value`, in order: the last of a name wins.
    pub definitions: Vec<String>,
    /// The role whose `GOOSEFS_<ROLE>_JAVA_OPTS` counts: `MASTER`, `WORKER`, `FUSE` or `USER`.
    pub role: &'static str,
}

const SITE_FILE: &str = "goosefs-site.properties";

impl Environment {
    /// The environment of this process.
    #[must_use]
    pub fn of_process() -> Environment {
        let text = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((key.into_string().ok()?, value.into_string().ok()?))
        };
        Environment(std::env::vars_os().filter_map(text).collect())
    }

    /// An environment made of `pairs`.
    #[must_use]
    pub fn of<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Environment {
        Environment(pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    /// A variable that is set and not empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

impl Properties {
    /// Loads every source. The second part are warnings for a person: what was ignored.
    ///
    /// # Errors
    /// `InvalidArgument` when a file cannot be read or a line of it is none, when a property is not known, or when a
    /// value is not allowed.
    pub fn load(environment: &Environment, overrides: &Overrides) -> Result<(Properties, Vec<String>)> {
        let mut properties = Properties::new();
        let mut ignored = Ignored::default();
        if let Some(path) = site_file(environment) {
            read_file(&mut properties, &path, &mut ignored)?;
        }
        for key in keys::ALL.iter().filter(|key| !key.name.contains("{N}")) {
            let variable = key.variable();
            if let Some(value) = environment.get(&variable) {
                properties.set(key.name, value, Source::Environment(variable));
            }
        }
        for variable in ["GOOSEFS_JAVA_OPTS".to_owned(), format!("GOOSEFS_{}_JAVA_OPTS", overrides.role)] {
            let options = environment.get(&variable).unwrap_or_default();
            for word in options.split_whitespace() {
                // The rest are options of a Java machine (-Xmx16G), which Fluid's charts send along.
                let Some(definition) = word.strip_prefix("-D") else { continue };
                let expanded = expand(definition, environment);
                define(&mut properties, &expanded, Source::Environment(variable.clone()), &mut ignored)?;
            }
        }
        for definition in &overrides.definitions {
            define(&mut properties, definition, Source::CommandLine, &mut ignored)?;
        }
        properties.check()?;
        Ok((properties, ignored.warnings()))
    }
}

/// Names that were skipped, by where they stood.
#[derive(Default)]
struct Ignored(BTreeMap<String, Vec<String>>);

impl Ignored {
    fn warnings(self) -> Vec<String> {
        let line = |(place, names): (String, Vec<String>)| {
            format!("ignored, since they mean nothing here: {} ({place})", names.join(", "))
        };
        self.0.into_iter().map(line).collect()
    }
}

fn site_file(environment: &Environment) -> Option<PathBuf> {
    let mut folders = Vec::new();
    folders.extend(environment.get("GOOSEFS_CONF_DIR").map(PathBuf::from));
    folders.extend(environment.get("GOOSEFS_HOME").map(|home| Path::new(home).join("conf")));
    folders.extend(environment.get("HOME").map(|home| Path::new(home).join(".goosefs")));
    folders.push(PathBuf::from("/etc/goosefs"));
    folders.into_iter().map(|folder| folder.join(SITE_FILE)).find(|path| path.is_file())
}

fn read_file(properties: &mut Properties, path: &Path, ignored: &mut Ignored) -> Result<()> {
    let place = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|cause| {
        Error::new(Code::InvalidArgument, format!("read {place}: {cause}")).caused_by(cause)
    })?;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        if !line.contains('=') {
            let message = format!("{place}, line {}: \"{line}\" is not key=value", number + 1);
            return Err(Error::new(Code::InvalidArgument, message));
        }
        define(properties, line, Source::File(place.clone()), ignored)?;
    }
    Ok(())
}

fn define(
    properties: &mut Properties,
    definition: &str,
    source: Source,
    ignored: &mut Ignored,
) -> Result<()> {
    let Some((name, value)) = definition.split_once('=') else {
        let message = format!("-D{definition} is not -Dkey=value");
        return Err(Error::new(Code::InvalidArgument, message));
    };
    let (name, value) = (name.trim(), value.trim());
    match Standing::of(name) {
        Standing::Known => properties.set(name, value, source),
        // Old files must go on working; what a person types now must be meant.
        Standing::MeansNothing if source != Source::CommandLine => {
            ignored.0.entry(source.to_string()).or_default().push(name.to_owned());
        }
        Standing::MeansNothing | Standing::Unknown => return Err(not_known(name)),
    }
    Ok(())
}

/// What the name of a property is to this release.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It is read, or is an attribute of a mount or a setting of a Java library: they stand in the same files.
    Known,
    /// A property of GooseFS that has no meaning here.
    MeansNothing,
    /// Most likely a slip of the pen.
    Unknown,
}

impl Standing {
    /// Looks the name up.
    #[must_use]
    pub fn of(name: &str) -> Standing {
        let family = |other: &&str| *other == name || (other.ends_with('.') && name.starts_with(*other));
        if keys::ALL.iter().any(|key| key.matches(name)) || !name.starts_with("goosefs.") {
            Standing::Known
        } else if keys::IGNORED.iter().any(family) {
            Standing::MeansNothing
        } else {
            Standing::Unknown
        }
    }
}

/// Checks properties that another process will be given.
///
/// # Errors
/// `InvalidArgument` when one is not known, or its value is not allowed.
pub fn check_given(given: &BTreeMap<String, String>) -> Result<()> {
    let mut properties = Properties::new();
    for (name, value) in given {
        if Standing::of(name) == Standing::Unknown {
            return Err(not_known(name));
        }
        properties.set(name, value, Source::CommandLine);
    }
    properties.check()
}

fn not_known(name: &str) -> Error {
    let error = Error::new(Code::InvalidArgument, format!("property {name} is not known"));
    match near(name) {
        Some(key) => error.hint(format!("did you mean {key}? `goosefs getConf` lists all")),
        None => error.hint("`goosefs getConf` lists all"),
    }
}

/// The property that `name` is most likely a slip of the pen for.
fn near(name: &str) -> Option<&'static str> {
    let distance = |key: &&str| strsim::levenshtein(key, name);
    keys::ALL
        .iter()
        .map(|key| key.name)
        .min_by_key(distance)
        .filter(|key| strsim::levenshtein(key, name) <= 3)
}

/// Replaces `${NAME}` by the variable's value, as a shell would have done.
fn expand(text: &str, environment: &Environment) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let Some(length) = rest[start..].find('}') else { break };
        expanded.push_str(&rest[..start]);
        expanded.push_str(environment.get(&rest[start + 2..start + length]).unwrap_or_default());
        rest = &rest[start + length + 1..];
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn command_line(definitions: &[&str]) -> Overrides {
        Overrides { definitions: definitions.iter().map(|d| (*d).to_owned()).collect(), role: "MASTER" }
    }

    #[test]
    fn later_sources_win() {
        let folder = tempfile::tempdir().unwrap();
        let file = "# site\ngoosefs.master.hostname=file\ngoosefs.master.rpc.port = 1\ngoosefs.worker.hostname=file\n\
                    goosefs.master.web.port=1\n";
        fs::write(folder.path().join(SITE_FILE), file).unwrap();
        let environment = Environment::of([
            ("GOOSEFS_CONF_DIR", folder.path().to_str().unwrap()),
            ("GOOSEFS_MASTER_RPC_PORT", "2"),
            ("GOOSEFS_MASTER_WEB_PORT", "2"),
            (
                "GOOSEFS_MASTER_JAVA_OPTS",
                "-Xmx16G -Dgoosefs.master.web.port=3 -Dgoosefs.master.hostname=${HOST}-0",
            ),
            ("HOST", "pod"),
        ]);
        let (properties, warnings) =
            Properties::load(&environment, &command_line(&["goosefs.master.web.port=4"])).unwrap();
        assert_eq!(properties.text(&keys::WORKER_HOSTNAME), "file");
        assert_eq!(properties.text(&keys::MASTER_HOSTNAME), "pod-0");
        assert_eq!(properties.text(&keys::MASTER_RPC_PORT), "2");
        assert_eq!(properties.text(&keys::MASTER_WEB_PORT), "4");
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[test]
    fn what_means_nothing_here_is_ignored_with_one_warning_a_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = "goosefs.master.embedded.journal.election.timeout=20s\ngoosefs.zookeeper.enabled=false\n";
        fs::write(folder.path().join(SITE_FILE), file).unwrap();
        let environment = Environment::of([("GOOSEFS_CONF_DIR", folder.path().to_str().unwrap())]);
        let (_, warnings) = Properties::load(&environment, &command_line(&[])).unwrap();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("election.timeout, goosefs.zookeeper.enabled"), "{warnings:?}");
    }

    #[test]
    fn what_nobody_knows_is_an_error_with_a_suggestion() {
        let none = Environment::of([]);
        let error = Properties::load(&none, &command_line(&["goosefs.master.hostnam=x"])).unwrap_err();
        assert!(error.to_string().contains("did you mean goosefs.master.hostname?"), "{error}");
        let error = Properties::load(&none, &command_line(&["goosefs.mastr.rpc=x"])).unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument);
        assert!(Properties::load(&none, &command_line(&["nothing"])).is_err());
    }

    #[test]
    fn a_line_of_a_file_that_is_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(SITE_FILE), "\nhello\n").unwrap();
        let environment = Environment::of([("GOOSEFS_CONF_DIR", folder.path().to_str().unwrap())]);
        let error = Properties::load(&environment, &command_line(&[])).unwrap_err();
        assert!(error.to_string().contains("line 2: \"hello\" is not key=value"), "{error}");
    }
}
