//! Real web servers over a directory: nginx (autoindex and fancyindex, http and https) and Python's `http.server`.
//!
//! Each runs from a configuration in a temporary folder, on loopback, and is ended by its own process id when dropped.

use goosefs_core::{Code, Error, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Where Debian keeps the fancyindex module.
const FANCYINDEX: &str = "/usr/lib/nginx/modules/ngx_http_fancyindex_module.so";

/// How long a server may take to accept connections, or to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which server lists the directories, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Page {
    /// nginx, sizes to the byte.
    Autoindex,
    /// nginx, large sizes rounded.
    AutoindexRounded,
    /// nginx with fancyindex as large mirrors have it: rounded sizes, a row for the parent directory.
    Fancyindex,
    /// `python3 -m http.server`: no sizes, no ranges, no entity tags, one request a connection.
    Python,
}

impl Page {
    /// All of them.
    pub const ALL: [Page; 4] = [Page::Autoindex, Page::AutoindexRounded, Page::Fancyindex, Page::Python];
}

/// How to serve a directory.
#[derive(Clone, Debug)]
pub struct ServingBuilder {
    root: PathBuf,
    page: Page,
    port: u16,
    log: Option<PathBuf>,
    tls: bool,
    directives: String,
}

impl ServingBuilder {
    /// The port to listen on; a free one by default.
    #[must_use]
    pub fn port(mut self, port: u16) -> ServingBuilder {
        self.port = port;
        self
    }

    /// Where the access log goes; a temporary file by default.
    #[must_use]
    pub fn log(mut self, log: &Path) -> ServingBuilder {
        self.log = Some(log.to_path_buf());
        self
    }

    /// Serves https with a certificate of an authority made for this server ([`Serving::ca_file`]). nginx only.
    #[must_use]
    pub fn tls(mut self) -> ServingBuilder {
        self.tls = true;
        self
    }

    /// More directives for nginx's `server` block.
    #[must_use]
    pub fn directives(mut self, directives: &str) -> ServingBuilder {
        self.directives = directives.to_owned();
        self
    }

    /// Starts the server and waits until it accepts connections. Blocks.
    ///
    /// # Errors
    /// `Unimplemented` naming what to install when the server is missing, else what went wrong.
    pub fn start(self) -> Result<Serving> {
        let folder = TempDir::new().map_err(|e| Error::io("make a temporary folder", e))?;
        let log = self.log.clone().unwrap_or_else(|| folder.path().join("access.log"));
        let ca_file =
            if self.tls { Some(make_certificates(folder.path(), Certificates::Good)?) } else { None };
        let mut serving = Serving {
            builder: self,
            folder,
            log,
            ca_file,
            child: None,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        serving.run()?;
        Ok(serving)
    }
}

/// A running web server.
#[derive(Debug)]
pub struct Serving {
    builder: ServingBuilder,
    folder: TempDir,
    log: PathBuf,
    ca_file: Option<PathBuf>,
    child: Option<Child>,
    address: SocketAddr,
}

impl Serving {
    /// How to serve `root` by `page`.
    #[must_use]
    pub fn of(root: &Path, page: Page) -> ServingBuilder {
        let root = root.to_path_buf();
        ServingBuilder { root, page, port: 0, log: None, tls: false, directives: String::new() }
    }

    /// The address of the served directory, `http://127.0.0.1:PORT/` or `https://localhost:PORT/`.
    #[must_use]
    pub fn uri(&self) -> String {
        if self.builder.tls {
            format!("https://localhost:{}/", self.address.port())
        } else {
            format!("http://{}/", self.address)
        }
    }

    /// The authority to trust, when the server speaks https.
    #[must_use]
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// The server's process.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The lines of the access log so far: `METHOD PATH STATUS RANGE BYTES` (nginx) with a `-` for no range.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Ends the server; a second time does nothing.
    pub fn stop(&mut self) {
        if let Some(child) = self.child.take() {
            stop(child);
        }
    }

    /// Starts it again on the same port after [`Serving::stop`]. Blocks.
    ///
    /// # Errors
    /// As [`ServingBuilder::start`].
    pub fn start_again(&mut self) -> Result<()> {
        self.builder.port = self.address.port();
        self.run()
    }

    fn run(&mut self) -> Result<()> {
        let mut last = Error::new(Code::Internal, "no free port");
        // A free port may be taken by somebody else before the server binds it.
        for _ in 0..5 {
            self.address = free_address(self.builder.port)?;
            match self.spawn().and_then(|child| wait_until_it_accepts(child, self.address)) {
                Ok(child) => {
                    self.child = Some(child);
                    return Ok(());
                }
                Err(error) if error.code == Code::Unavailable && self.builder.port == 0 => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    fn spawn(&self) -> Result<Child> {
        let log = std::fs::File::create(self.folder.path().join("errors.log"));
        let log = log.map_err(|e| Error::io("create a log", e))?;
        let mut command = match self.builder.page {
            Page::Python => self.python()?,
            Page::Autoindex | Page::AutoindexRounded | Page::Fancyindex => self.nginx()?,
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.spawn().map_err(|e| Error::io(format!("start {command:?}"), e))
    }

    fn python(&self) -> Result<Command> {
        let python = program("python3").ok_or_else(|| missing("python3", "python3"))?;
        let mut command = Command::new(python);
        command.args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory"]);
        command.arg(&self.builder.root).arg(self.address.port().to_string());
        Ok(command)
    }

    fn nginx(&self) -> Result<Command> {
        let nginx = program("nginx").ok_or_else(|| missing("nginx", "nginx-light"))?;
        if self.builder.page == Page::Fancyindex && !Path::new(FANCYINDEX).exists() {
            return Err(missing("the fancyindex module of nginx", "libnginx-mod-http-fancyindex"));
        }
        let file = self.folder.path().join("nginx.conf");
        std::fs::write(&file, self.nginx_configuration()).map_err(|e| Error::io("write nginx.conf", e))?;
        let mut command = Command::new(nginx);
        command.arg("-p").arg(self.folder.path()).arg("-e").arg("nginx-errors.log").arg("-c").arg(file);
        Ok(command)
    }

    fn nginx_configuration(&self) -> String {
        let mut text = String::new();
        if self.builder.page == Page::Fancyindex {
            let _ = writeln!(text, "load_module {FANCYINDEX};");
        }
        // As root, nginx would serve as nobody, who may not enter temporary folders.
        if nix::unistd::geteuid().is_root() {
            text.push_str("user root;\n");
        }
        let folder = self.folder.path().display();
        let listing = match self.builder.page {
            Page::Autoindex | Page::Python => "autoindex on;",
            Page::AutoindexRounded => "autoindex on; autoindex_exact_size off;",
            Page::Fancyindex => "fancyindex on; fancyindex_exact_size off;",
        };
        let tls = if self.builder.tls {
            format!("ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.key;")
        } else {
            String::new()
        };
        let _ = write!(
            text,
            "daemon off;\npid {folder}/nginx.pid;\nworker_processes 1;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n\
               log_format plain '$request_method $request_uri $status $range $body_bytes_sent';\n\
               map $http_range $range {{ '' '-'; default $http_range; }}\n\
               access_log \"{log}\" plain;\n\
               sendfile on; keepalive_timeout 30; keepalive_requests 100000;\n\
               client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n\
               fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;\n\
               default_type application/octet-stream;\n\
               server {{ listen {address}{ssl}; root \"{root}\"; {tls} {listing} {directives} }}\n\
             }}\n",
            log = self.log.display(),
            address = self.address,
            ssl = if self.builder.tls { " ssl" } else { "" },
            root = self.builder.root.display(),
            directives = self.builder.directives,
        );
        text
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop();
    }
}

fn missing(what: &str, package: &str) -> Error {
    Error::new(Code::Unimplemented, format!("{what} is not installed"))
        .hint(format!("apt-get install {package}"))
}

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers where users have no path to.
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Ends a server that was started.
pub(super) fn stop(mut child: Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
}

pub(super) fn free_address(port: u16) -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", port))
        .map_err(|e| Error::io(format!("listen on 127.0.0.1:{port}"), e))?;
    listener.local_addr().map_err(|e| Error::io("ask for the port", e))
}

/// Errors: `Unavailable` when the server ended instead.
pub(super) fn wait_until_it_accepts(mut child: Child, address: SocketAddr) -> Result<Child> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(Error::new(Code::Unavailable, format!("the server for {address} ended: {status}")));
        }
        if TcpStream::connect(address).is_ok() {
            return Ok(child);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
    Err(Error::new(Code::DeadlineExceeded, format!("nothing listens on {address} after {PATIENCE:?}")))
}

/// What is the matter with a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Certificates {
    /// Nothing.
    Good,
    /// Its time is over.
    Expired,
}

/// Makes an authority (`ca.pem`, returned) and a certificate for localhost (`server.pem`, `server.key`).
pub(super) fn make_certificates(folder: &Path, kind: Certificates) -> Result<PathBuf> {
    let failed = |e: rcgen::Error| Error::new(Code::Internal, format!("make certificates: {e}"));
    let mut authority = rcgen::CertificateParams::new(Vec::new()).map_err(failed)?;
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, "GooseFS tests");
    let authority_key = rcgen::KeyPair::generate().map_err(failed)?;
    let authority_certificate = authority.self_signed(&authority_key).map_err(failed)?;
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut server = rcgen::CertificateParams::new(names).map_err(failed)?;
    if kind == Certificates::Expired {
        (server.not_before, server.not_after) =
            (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2020, 2, 1));
    }
    let server_key = rcgen::KeyPair::generate().map_err(failed)?;
    let server_certificate = server.signed_by(&server_key, &issuer).map_err(failed)?;
    let ca_file = folder.join("ca.pem");
    for (file, text) in [
        (&ca_file, authority_certificate.pem()),
        (&folder.join("server.pem"), server_certificate.pem()),
        (&folder.join("server.key"), server_key.serialize_pem()),
    ] {
        std::fs::write(file, text).map_err(|e| Error::io(format!("write {}", file.display()), e))?;
    }
    Ok(ca_file)
}
