//! The client's virtual environment and script.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The version that the tests were written against.
const PACKAGE: &str = "goosefs==0.2.2";

/// A Python that has the client.
#[derive(Debug)]
pub(crate) struct Python {
    interpreter: PathBuf,
    script: PathBuf,
}

impl Python {
    /// The environment in the target folder, made at first use; none, said aloud, where it cannot be made.
    pub(crate) fn prepare(test: &str) -> Option<Python> {
        match environment() {
            Ok(interpreter) => {
                let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/client.py");
                Some(Python { interpreter, script })
            }
            Err(why) => {
                assert!(std::env::var_os("GOOSEFS_TEST_REQUIRE_ALL").is_none(), "{test}: {why}");
                eprintln!("SKIPPED {test}: {why}");
                None
            }
        }
    }

    /// Runs one step of the script; gives what it printed.
    pub(crate) fn step(&self, name: &str, masters: &str, extra: &[&str]) -> String {
        let mut command = Command::new("timeout");
        command.arg("180").arg(&self.interpreter).arg(&self.script).arg(name).arg(masters).args(extra);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{name}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }
}

/// The interpreter of an environment that has the package.
fn environment() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-client");
    let interpreter = folder.join("bin/python");
    if !has_package(&interpreter) {
        run(Command::new("python3").arg("-m").arg("venv").arg(&folder))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--timeout=20", PACKAGE];
        run(Command::new(&interpreter).args(pip))?;
    }
    Ok(interpreter)
}

fn has_package(interpreter: &Path) -> bool {
    let version = PACKAGE.rsplit('=').next().unwrap_or_default();
    let check = format!("import goosefs; assert goosefs.__version__ == '{version}'");
    Command::new(interpreter).arg("-c").arg(check).output().is_ok_and(|output| output.status.success())
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim_end()))
}
