//! Listening on a Unix socket: a stale file is replaced, a living one respected, ours removed at the end.

use crate::error::{Code, Error, Result};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;

/// Longest path that fits `sockaddr_un`.
const LONGEST: usize = 107;

/// The file of a listening socket, removed when dropped unless another process has put its own there.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::debug!(path = %self.path.display(), %error, "a socket file stays");
        }
    }
}

/// Listens at `path`, which only our own user and root may connect to; missing folders are made.
///
/// # Errors
/// `Busy` when another process listens there, `InvalidArgument` when the path is too long or something else lies there,
/// else the I/O error.
pub fn listen(path: &Path) -> Result<(UnixListener, SocketFile)> {
    let shown = path.display();
    if path.as_os_str().len() > LONGEST {
        let text = format!("{shown} is too long for a Unix socket, at most {LONGEST} bytes are allowed");
        return Err(Error::new(Code::InvalidArgument, text).hint("choose a shorter folder"));
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(|e| Error::io(format!("make {}", folder.display()), e))?;
    }
    clear(path)?;
    let failed = |e| Error::io(format!("listen on {shown}"), e);
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    let inode = fs::symlink_metadata(path).map_err(failed)?.ino();
    Ok((listener, SocketFile { path: path.to_owned(), inode }))
}

/// Makes room at `path` if what lies there is a socket that nobody serves.
fn clear(path: &Path) -> Result<()> {
    let shown = path.display();
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io(format!("look at {shown}"), error)),
    };
    if !found.file_type().is_socket() {
        return Err(Error::new(Code::InvalidArgument, format!("{shown} exists and is not a socket")));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(Error::new(Code::Busy, format!("another process serves {shown}"))
            .hint("stop it, or give this one another socket path")),
        Err(_) => fs::remove_file(path).map_err(|e| Error::io(format!("remove the stale {shown}"), e)),
    }
}
