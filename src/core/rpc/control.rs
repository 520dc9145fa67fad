//! The control key: what tells who administers a cluster from who only says that he may.
//!
//! With SIMPLE a caller is believed whatever name he gives. Masters that have a key
//! (`goosefs.security.control.key.file`) let only those administer them who show that they have it, too. The key itself
//! never travels: a server sends 32 random bytes, and the caller answers with an HMAC-SHA256 over them, so that no clocks
//! are compared and an answer is worth nothing on another connection. Frames ask after `Hello`, gRPC on the login stream.
//!
//! It does not help against whoever reads the file, nor against whoever can rewrite connections or take them over between
//! the two: what follows a proof is not signed.
//!
//! Servers read the file whenever they are shown a proof, so another key counts from then on; what was proven stays so
//! until its connection ends. Called by [`super::frame`] and [`super::sasl`], and by who dials masters to administer them.

use crate::config::{Properties, keys};
use crate::error::{Code, Error, Result};
use parking_lot::Mutex;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The shortest key, in bytes.
const SHORTEST: usize = 32;

/// The longest file that is taken for one.
const LONGEST: usize = 4096;

/// What every proof is about, so that the key may be used for nothing else by mistake.
const ABOUT: &[u8] = b"goosefs control 1\0";

/// What a server asks a caller to prove himself with.
pub type Challenge = [u8; 32];

/// The way by which a proof comes; one for the one is worth nothing on the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// Our framed protocol.
    Frames,
    /// The login stream of gRPC.
    Sasl,
}

impl Transport {
    fn name(self) -> &'static [u8] {
        match self {
            Transport::Frames => b"frames",
            Transport::Sasl => b"sasl",
        }
    }
}

/// What a server knows of its caller and the key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Proof {
    /// The caller has shown nothing.
    #[default]
    Missing,
    /// The caller has the key.
    Given,
}

/// A control key. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ControlKey(Arc<str>);

impl fmt::Debug for ControlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ControlKey")
    }
}

impl ControlKey {
    /// The key that a text is, without the space around it.
    ///
    /// # Errors
    /// `InvalidArgument` when it is too short or no text.
    pub fn parse(text: &[u8]) -> Result<ControlKey> {
        let text = std::str::from_utf8(text).map_err(|_| unusable("it is no text"))?.trim();
        match text.len() {
            SHORTEST..=LONGEST => Ok(ControlKey(text.into())),
            length => Err(unusable(&format!("it has {length} bytes, {SHORTEST} to {LONGEST} make a key"))),
        }
    }

    /// A new one, 64 hex digits.
    ///
    /// # Errors
    /// `Internal` when the system gives no randomness.
    pub fn generate() -> Result<ControlKey> {
        let text: String = challenge()?.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(ControlKey(text.into()))
    }

    /// The key that a process administers masters with: that of the file that its properties name. None when they name
    /// none, and where the file is not there or not for this user, since not every process with these properties shall
    /// have it.
    ///
    /// # Errors
    /// `InvalidArgument` naming the file when no key is in it; I/O errors.
    pub fn of_caller(properties: &Properties) -> Result<Option<ControlKey>> {
        let Some(path) = file_of(properties) else { return Ok(None) };
        match std::fs::read(&path) {
            Ok(text) => ControlKey::parse(&text).map(Some).map_err(|error| in_file(error, &path)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
                tracing::debug!(path = %path.display(), %error, "there is no control key for this process");
                Ok(None)
            }
            Err(error) => Err(unreadable(&path, error)),
        }
    }

    /// Its text, for the file that it lies in.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The answer to a server's challenge, from who calls as `user`.
    #[must_use]
    pub fn prove(&self, transport: Transport, challenge: &Challenge, user: &str) -> Vec<u8> {
        hmac::sign(&self.hmac(), &subject(transport, challenge, user)).as_ref().to_vec()
    }

    /// Whether `proof` answers the challenge; takes as long for a wrong one as for the right one.
    fn holds(&self, transport: Transport, challenge: &Challenge, user: &str, proof: &[u8]) -> bool {
        hmac::verify(&self.hmac(), &subject(transport, challenge, user), proof).is_ok()
    }

    fn hmac(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.0.as_bytes())
    }
}

/// The user's name comes last: what is before it has one length for each transport.
fn subject(transport: Transport, challenge: &Challenge, user: &str) -> Vec<u8> {
    [ABOUT, transport.name(), challenge, user.as_bytes()].concat()
}

/// Bytes that nobody can guess.
///
/// # Errors
/// `Internal` when the system gives none.
pub(crate) fn challenge() -> Result<Challenge> {
    let mut bytes = Challenge::default();
    let none = |_| Error::new(Code::Internal, "the system gives no random bytes");
    SystemRandom::new().fill(&mut bytes).map_err(none)?;
    Ok(bytes)
}

/// The file with a server's key. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KeyFile {
    path: Arc<Path>,
    /// What was in it when it could be read last.
    last: Arc<Mutex<ControlKey>>,
}

impl KeyFile {
    /// The key in a file.
    ///
    /// # Errors
    /// `InvalidArgument` when there is no key in it, I/O errors; naming the file and the property.
    pub fn open(path: &Path) -> Result<KeyFile> {
        let key = read(path)?;
        Ok(KeyFile { path: path.into(), last: Arc::new(Mutex::new(key)) })
    }

    /// That of `goosefs.security.control.key.file`; none when it is not set.
    ///
    /// # Errors
    /// As [`KeyFile::open`].
    pub fn of_server(properties: &Properties) -> Result<Option<KeyFile>> {
        file_of(properties).map(|path| KeyFile::open(&path)).transpose()
    }

    /// What is in the file now; what was in it before while it cannot be read.
    #[must_use]
    pub fn key(&self) -> ControlKey {
        match read(&self.path) {
            Ok(key) => {
                self.last.lock().clone_from(&key);
                key
            }
            Err(error) => {
                tracing::warn!(%error, "the control key stays as it was");
                self.last.lock().clone()
            }
        }
    }

    /// Whether who calls as `user` has the key.
    ///
    /// # Errors
    /// `PermissionDenied`, with what to do about it.
    pub(crate) fn check(
        &self,
        transport: Transport,
        challenge: &Challenge,
        user: &str,
        proof: &[u8],
    ) -> Result<()> {
        if self.key().holds(transport, challenge, user, proof) {
            return Ok(());
        }
        let (key, path) = (keys::CONTROL_KEY_FILE.name, self.path.display());
        let text = format!("the caller's control key is not that of this server, which is in {path}");
        Err(Error::new(Code::PermissionDenied, text)
            .hint(format!("copy that file to where {key} of the caller says, or call without the property")))
    }
}

fn file_of(properties: &Properties) -> Option<PathBuf> {
    let path = properties.text(&keys::CONTROL_KEY_FILE);
    (!path.is_empty()).then(|| PathBuf::from(path))
}

fn read(path: &Path) -> Result<ControlKey> {
    let text = std::fs::read(path).map_err(|error| unreadable(path, error))?;
    ControlKey::parse(&text).map_err(|error| in_file(error, path))
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    let what = format!("read the control key {} ({})", path.display(), keys::CONTROL_KEY_FILE.name);
    Error::io(what, error).hint(remedy())
}

fn unusable(why: &str) -> Error {
    Error::new(Code::InvalidArgument, format!("this is no control key: {why}")).hint(remedy())
}

fn in_file(error: Error, path: &Path) -> Error {
    error.context(format!("{}={}", keys::CONTROL_KEY_FILE.name, path.display()))
}

fn remedy() -> String {
    "write a key into the file, the same for all masters: openssl rand -hex 32".to_owned()
}

#[cfg(test)]
mod tests;
