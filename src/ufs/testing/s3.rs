//! A real S3 server over a temporary folder: versitygw, built by `tests/s3/build`. It checks every signature.

use super::serving::{Certificates, free_address, make_certificates, stop, wait_until_it_accepts};
use goosefs_core::{Code, Error, Result};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// As in `tests/s3/build`.
const VERSION: &str = "1.8.0";

/// How a server is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Speaks {
    /// Plain HTTP.
    Http,
    /// TLS with a certificate of [`S3Server::ca_file`].
    Https,
    /// TLS with a certificate that was good until yesterday.
    Expired,
}

/// A running S3 server with one bucket.
#[derive(Debug)]
pub struct S3Server {
    folder: TempDir,
    address: SocketAddr,
    ca_file: Option<PathBuf>,
    child: Option<Child>,
}

impl S3Server {
    /// The bucket that is there.
    pub const BUCKET: &'static str = "tests";
    /// The id of the key that is right.
    pub const ID: &'static str = "GOOSEFSTESTS";
    /// The key.
    pub const KEY: &'static str = "geheim-geheim-geheim";

    /// Starts a server and waits until it accepts connections. Blocks.
    ///
    /// # Errors
    /// `Unimplemented` naming what builds the server when it is missing, else what went wrong.
    pub fn start(speaks: Speaks) -> Result<S3Server> {
        let program = program()?;
        let folder = TempDir::new().map_err(|e| Error::io("make a temporary folder", e))?;
        let bucket = folder.path().join("buckets").join(Self::BUCKET);
        std::fs::create_dir_all(&bucket).map_err(|e| Error::io("make a bucket", e))?;
        let certificates = match speaks {
            Speaks::Http => None,
            Speaks::Https => Some(make_certificates(folder.path(), Certificates::Good)?),
            Speaks::Expired => Some(make_certificates(folder.path(), Certificates::Expired)?),
        };
        let mut last = Error::new(Code::Internal, "no free port");
        // A free port may be taken by somebody else before the server binds it.
        for _ in 0..5 {
            let address = free_address(0)?;
            let started = spawn(&program, folder.path(), address, certificates.is_some());
            match started.and_then(|child| wait_until_it_accepts(child, address)) {
                Ok(child) => {
                    return Ok(S3Server { folder, address, ca_file: certificates, child: Some(child) });
                }
                Err(error) if error.code == Code::Unavailable => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// Where it is, `http://127.0.0.1:PORT` or `https://localhost:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        if self.ca_file.is_some() {
            format!("https://localhost:{}", self.address.port())
        } else {
            format!("http://{}", self.address)
        }
    }

    /// The authority to trust, when it speaks TLS.
    #[must_use]
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// The folder whose files are the objects of the bucket.
    #[must_use]
    pub fn bucket(&self) -> PathBuf {
        self.folder.path().join("buckets").join(Self::BUCKET)
    }

    /// `METHOD PATH STATUS` and more of every request so far, a line each.
    #[must_use]
    pub fn requests(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("requests.log")).unwrap_or_default()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            stop(child);
        }
    }
}

fn program() -> Result<PathBuf> {
    let cache = std::env::var_os("GOOSEFS_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/goosefs")));
    let program = cache.map(|cache| cache.join("versitygw").join(VERSION).join("versitygw"));
    program.filter(|program| program.is_file()).ok_or_else(|| {
        Error::new(
            Code::Unimplemented,
            format!("the S3 server of the tests (versitygw {VERSION}) is not there"),
        )
        .hint("build it once: tests/s3/build")
    })
}

fn spawn(program: &Path, folder: &Path, address: SocketAddr, tls: bool) -> Result<Child> {
    let log = |name: &str| {
        std::fs::File::create(folder.join(name)).map_err(|e| Error::io(format!("create {name}"), e))
    };
    let mut command = Command::new(program);
    command.arg("--port").arg(address.to_string()).arg("--keep-alive");
    if tls {
        command.arg("--cert").arg(folder.join("server.pem")).arg("--key").arg(folder.join("server.key"));
    }
    command.arg("posix").arg(folder.join("buckets"));
    command.env("ROOT_ACCESS_KEY_ID", S3Server::ID).env("ROOT_SECRET_ACCESS_KEY", S3Server::KEY);
    command.stdin(Stdio::null()).stdout(log("requests.log")?).stderr(log("errors.log")?);
    command.spawn().map_err(|e| Error::io(format!("start {}", program.display()), e))
}
