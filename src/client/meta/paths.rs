//! The namespace by path.

use crate::meta::{Changes, CreateOptions, Inodes};
use goosefs_core::id::{ContentId, InodeId};
use goosefs_core::path::NsPath;
use goosefs_core::proto::internal::{Attr, Caller, DirEntry, NodeKind};
use goosefs_core::{Code, Error, Result};

/// The namespace by path, on behalf of the client's own user. Cheap to clone.
///
/// Each operation resolves the parent and then acts on it by inode, so a rename above it in between changes nothing of
/// its meaning. Errors name the path.
#[derive(Clone, Debug)]
pub struct Paths {
    inodes: Inodes,
    caller: Caller,
    defaults: CreateOptions,
}

impl Paths {
    pub(crate) fn new(inodes: Inodes, caller: Caller, defaults: CreateOptions) -> Paths {
        Paths { inodes, caller, defaults }
    }

    /// What a path names.
    ///
    /// # Errors
    /// `NotFound`, `NotDirectory`, `Ufs`.
    pub async fn stat(&self, path: &NsPath) -> Result<Attr> {
        self.inodes.resolve(path).await.map_err(|error| named(error, path))
    }

    /// What a path names, to be read by the client's own user.
    ///
    /// # Errors
    /// As [`Paths::stat`], and `PermissionDenied`.
    pub async fn readable(&self, path: &NsPath) -> Result<Attr> {
        self.inodes.resolve_to_read(path).await.map_err(|error| named(error, path))
    }

    /// The entries of a directory, by name; of anything else the thing itself.
    ///
    /// # Errors
    /// As [`Paths::stat`].
    pub async fn list(&self, path: &NsPath) -> Result<Vec<DirEntry>> {
        let attr = self.stat(path).await?;
        if attr.kind() != NodeKind::Directory {
            let name = path.name().unwrap_or_default().to_owned();
            return Ok(vec![DirEntry { name, attr: Some(attr) }]);
        }
        let mut entries: Vec<DirEntry> = Vec::new();
        loop {
            let after = entries.last().map(|entry| entry.name.as_str()).unwrap_or_default();
            let page = self.inodes.read_dir(InodeId(attr.inode), after, 0).await;
            let mut page = page.map_err(|error| named(error, path))?;
            let more = page.more && !page.entries.is_empty();
            entries.append(&mut page.entries);
            if !more {
                return Ok(entries);
            }
        }
    }

    /// Makes an empty, incomplete file, with `options` or the configured ones; its parent must exist.
    ///
    /// # Errors
    /// As [`Inodes::create`].
    pub async fn create(&self, path: &NsPath, mode: u32, options: Option<CreateOptions>) -> Result<Attr> {
        let (parent, name) = self.parent(path).await?;
        let options = options.unwrap_or(self.defaults);
        let made = self.inodes.create(parent, name, mode, options, &self.caller).await;
        made.map_err(|error| named(error, path))
    }

    /// Makes a directory, and what is missing above it if `parents`. With `parents` an existing directory is no error.
    ///
    /// # Errors
    /// As [`Inodes::make_dir`].
    pub async fn make_dir(&self, path: &NsPath, mode: u32, parents: bool) -> Result<Attr> {
        if parents {
            return self.make_dirs(path, mode).await;
        }
        let (parent, name) = self.parent(path).await?;
        let made = self.inodes.make_dir(parent, name, mode, &self.caller).await;
        made.map_err(|error| named(error, path))
    }

    async fn make_dirs(&self, path: &NsPath, mode: u32) -> Result<Attr> {
        // Down from the root, because what exists is the common case and tells where to begin.
        let mut at = NsPath::root();
        let mut attr = self.stat(&at).await?;
        for name in path.components() {
            let parent = InodeId(attr.inode);
            at = at.join(name)?;
            attr = match self.inodes.lookup(parent, name, &self.caller).await {
                Err(error) if error.code == Code::NotFound => {
                    match self.inodes.make_dir(parent, name, mode, &self.caller).await {
                        // Someone was faster.
                        Err(error) if error.code == Code::AlreadyExists => self.stat(&at).await?,
                        made => made.map_err(|error| named(error, &at))?,
                    }
                }
                found => found.map_err(|error| named(error, &at))?,
            };
            if attr.kind() != NodeKind::Directory {
                return Err(Error::new(Code::NotDirectory, format!("{at} is not a directory")));
            }
        }
        Ok(attr)
    }

    /// Makes a symlink.
    ///
    /// # Errors
    /// As [`Inodes::symlink`].
    pub async fn symlink(&self, path: &NsPath, target: &str) -> Result<Attr> {
        let (parent, name) = self.parent(path).await?;
        let made = self.inodes.symlink(parent, name, target, &self.caller).await;
        made.map_err(|error| named(error, path))
    }

    /// Removes a file, a symlink or an empty directory. Whole trees go by [`crate::admin::Admin::remove`].
    ///
    /// # Errors
    /// As [`Inodes::unlink`] and [`Inodes::remove_dir`].
    pub async fn remove(&self, path: &NsPath) -> Result<()> {
        let directory = self.stat(path).await?.kind() == NodeKind::Directory;
        let (parent, name) = self.parent(path).await?;
        let removed = if directory {
            self.inodes.remove_dir(parent, name, &self.caller).await
        } else {
            self.inodes.unlink(parent, name, &self.caller).await
        };
        removed.map_err(|error| named(error, path))
    }

    /// Moves `from` to `to`, which must not exist.
    ///
    /// # Errors
    /// As [`Inodes::rename`].
    pub async fn rename(&self, from: &NsPath, to: &NsPath) -> Result<Attr> {
        let source = self.parent(from).await?;
        let target = self.parent(to).await?;
        let moved = self.inodes.rename(source, target, true, &self.caller).await;
        moved.map_err(
            |error| if error.code == Code::AlreadyExists { named(error, to) } else { named(error, from) },
        )
    }

    /// Sets attributes.
    ///
    /// # Errors
    /// As [`Inodes::set_attr`].
    pub async fn set_attr(&self, path: &NsPath, changes: &Changes) -> Result<Attr> {
        let attr = self.stat(path).await?;
        let changed = self.inodes.set_attr(attr.inode, changes, &self.caller).await;
        changed.map_err(|error| named(error, path))
    }

    /// Cuts a file to zero bytes, to be written anew.
    ///
    /// # Errors
    /// `IsDirectory`, and as [`Inodes::truncate`].
    pub async fn truncate(&self, path: &NsPath) -> Result<Attr> {
        let attr = self.stat(path).await?;
        if attr.kind() != NodeKind::File {
            return Err(Error::new(Code::IsDirectory, format!("{path} is not a file")));
        }
        let cut = self.inodes.truncate(ContentId(attr.content), &self.caller).await;
        cut.map_err(|error| named(error, path))
    }

    async fn parent<'p>(&self, path: &'p NsPath) -> Result<(InodeId, &'p str)> {
        let (Some(parent), Some(name)) = (path.parent(), path.name()) else {
            return Err(Error::new(Code::InvalidPath, "the root cannot be made, moved or removed"));
        };
        Ok((InodeId(self.stat(&parent).await?.inode), name))
    }
}

/// The error with the path in its message, unless it has it.
fn named(error: Error, path: &NsPath) -> Error {
    if error.message.contains(path.as_str()) && !path.is_root() {
        return error;
    }
    Error { message: format!("{path}: {}", error.message), ..error }
}
