//! Commands of the binary, as a person would type them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// After so long a command has failed.
const LIMIT: Duration = Duration::from_secs(120);

/// What a command said, and how it ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Exit code; none when a signal ended it.
    pub code: Option<i32>,
}

/// The binary in surroundings that the test chooses: no variable of the person who runs the tests reaches it.
#[derive(Clone, Debug)]
pub struct Binary {
    path: PathBuf,
    home: PathBuf,
    variables: Vec<(String, String)>,
}

impl Binary {
    /// The binary at `path`, run with `home` as home and working directory.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, home: &Path) -> Binary {
        Binary { path: path.into(), home: home.to_owned(), variables: Vec::new() }
    }

    /// The same with one more environment variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Binary {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// A command that was not started yet.
    #[must_use]
    pub fn command(&self, args: &[impl AsRef<str>]) -> Command {
        let mut command = Command::new(&self.path);
        command.args(args.iter().map(AsRef::as_ref)).current_dir(&self.home);
        command.env_clear().env("HOME", &self.home).env("USER", "root").env("TZ", "UTC");
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// When it cannot be started or takes too long; then it is killed.
    pub fn run(&self, args: &[impl AsRef<str>]) -> anyhow::Result<Said> {
        let mut command = self.command(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let pid = i32::try_from(child.id())?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let reads = [out.map(read_all), err.map(read_all)];
        let until = Instant::now() + LIMIT;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if Instant::now() > until {
                child.kill()?;
                child.wait()?;
                anyhow::bail!("{:?} (pid {pid}) was not done after {LIMIT:?}", command.get_args());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let [stdout, stderr] = reads.map(|read| read.and_then(|read| read.join().ok()).unwrap_or_default());
        Ok(Said::of(&Output { status, stdout, stderr }))
    }
}

impl Said {
    /// What a process left.
    #[must_use]
    pub fn of(output: &Output) -> Said {
        Said {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code(),
        }
    }

    /// Lines of standard output.
    #[must_use]
    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }
}

fn read_all(mut from: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before a failure is what there is.
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

/// Replaces every `MM-dd-yyyy HH:mm:ss:SSS` by that very text, which is as wide.
#[must_use]
pub fn undated(text: &str) -> String {
    const SHAPE: &str = "MM-dd-yyyy HH:mm:ss:SSS";
    let fits = |window: &str| {
        window.len() == SHAPE.len()
            && window.chars().zip(SHAPE.chars()).all(|(found, shape)| match shape {
                ' ' | '-' | ':' => found == shape,
                _ => found.is_ascii_digit(),
            })
    };
    let mut rest = text;
    let mut whole = String::new();
    while let Some(first) = rest.chars().next() {
        if rest.get(..SHAPE.len()).is_some_and(fits) {
            whole += SHAPE;
            rest = &rest[SHAPE.len()..];
        } else {
            whole.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    whole
}
