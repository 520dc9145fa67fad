//! Changing the namespace.

use super::open::Opened;
use super::{Fs, Who, gone, node};
use crate::attr::{Stat, millis};
use crate::backend::AttrChange;
use goosefs_core::id::{ContentId, InodeId};
use goosefs_core::{Code, Error, Result};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::oneshot;

/// What setattr shall change.
#[derive(Debug, Clone, Default)]
pub struct SetAttr {
    /// The 12 low bits of st_mode.
    pub mode: Option<u32>,
    /// Number of the owner.
    pub uid: Option<u32>,
    /// Number of the group.
    pub gid: Option<u32>,
    /// Bytes.
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<SystemTime>,
    /// Last change of the bytes.
    pub mtime: Option<SystemTime>,
}

impl Fs {
    /// Creates and opens a file; opens it when it is there and `flags` do not say O_EXCL.
    ///
    /// # Errors
    /// `AlreadyExists`, `ReadOnly`, and what the cluster says.
    pub async fn create(
        self: &Arc<Fs>,
        who: Who,
        parent: u64,
        name: &str,
        mode: u32,
        flags: i32,
    ) -> Result<(Stat, Opened)> {
        self.require_writable()?;
        let directory = node::directory(parent)?;
        let changing = self.own.begin(&[(parent, name)]);
        let (fs, name) = (self.clone(), name.to_owned());
        let (tell, told) = oneshot::channel();
        // Run to its end even if the program was killed: a file that was created must be completed.
        self.tasks.spawn("create", async move {
            let outcome = fs.create_file(who, (parent, directory), &name, mode, flags).await;
            if let Err(Ok((_, opened))) = tell.send(outcome)
                && let Err(error) = fs.release(opened.handle).await
            {
                tracing::debug!(%error, name, "closing a file whose creator is gone");
            }
        });
        let outcome = told.await;
        let ended = |_| Err(Error::new(Code::Cancelled, "the mount is shutting down"));
        changing.ended(outcome.unwrap_or_else(ended))
    }

    async fn create_file(
        self: &Arc<Fs>,
        who: Who,
        (parent, directory): (u64, InodeId),
        name: &str,
        mode: u32,
        flags: i32,
    ) -> Result<(Stat, Opened)> {
        let caller = self.caller(who).await;
        let create = self.backend.create(caller, directory, name, mode & 0o7777);
        match self.bounded("create", create).await {
            Ok(attr) => {
                self.forget_attr(parent);
                self.remember(&attr);
                let stat = self.stat(&attr).await;
                Ok((stat, self.open_created(who, attr)))
            }
            Err(error) if error.code == Code::AlreadyExists && flags & libc::O_EXCL == 0 => {
                let stat = self.lookup(who, parent, name).await?;
                let opened = self.open(who, stat.node, flags).await?;
                Ok((stat, opened))
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// `AlreadyExists`, `ReadOnly`, and what the cluster says.
    pub async fn mkdir(&self, who: Who, parent: u64, name: &str, mode: u32) -> Result<Stat> {
        self.require_writable()?;
        let directory = node::directory(parent)?;
        let caller = self.caller(who).await;
        let changing = self.own.begin(&[(parent, name)]);
        let call = self.backend.make_dir(caller, directory, name, mode & 0o7777);
        let attr = changing.ended(self.bounded("mkdir", call).await)?;
        self.forget_attr(parent);
        self.remember(&attr);
        Ok(self.stat(&attr).await)
    }

    /// Makes a symlink.
    ///
    /// # Errors
    /// `AlreadyExists`, `ReadOnly`, and what the cluster says.
    pub async fn symlink(&self, who: Who, parent: u64, name: &str, target: &str) -> Result<Stat> {
        self.require_writable()?;
        let directory = node::directory(parent)?;
        let caller = self.caller(who).await;
        let changing = self.own.begin(&[(parent, name)]);
        let call = self.backend.symlink(caller, directory, name, target);
        let attr = changing.ended(self.bounded("symlink", call).await)?;
        self.forget_attr(parent);
        self.remember(&attr);
        Ok(self.stat(&attr).await)
    }

    /// Removes a file or symlink, or an empty directory when `directory`.
    ///
    /// # Errors
    /// `NotFound`, `NotEmpty`, `IsDirectory`, `NotDirectory`, `ReadOnly`, and what the cluster says.
    pub async fn remove(self: &Arc<Fs>, who: Who, parent: u64, name: &str, directory: bool) -> Result<()> {
        self.require_writable()?;
        let from = node::directory(parent)?;
        let caller = self.caller(who).await;
        let (fs, taken) = (self.clone(), name.to_owned());
        let call =
            async move { fs.bounded("remove", fs.backend.remove(caller, from, &taken, directory)).await };
        let changing = self.own.begin(&[(parent, name)]);
        changing.ended(match directory {
            true => call.await,
            false => self.taking_name(who, from, name, call).await,
        })?;
        self.forget_attr(parent);
        Ok(())
    }

    /// Renames, replacing what has the new name unless `flags` say RENAME_NOREPLACE.
    ///
    /// # Errors
    /// `InvalidArgument` for other flags, and what the cluster says.
    pub async fn rename(
        self: &Arc<Fs>,
        who: Who,
        from: (u64, &str),
        to: (u64, &str),
        flags: u32,
    ) -> Result<()> {
        self.require_writable()?;
        if flags & !libc::RENAME_NOREPLACE != 0 {
            return Err(Error::new(Code::InvalidArgument, "names can be replaced, not exchanged"));
        }
        let no_replace = flags & libc::RENAME_NOREPLACE != 0;
        let (source, target) = (node::directory(from.0)?, node::directory(to.0)?);
        let caller = self.caller(who).await;
        let (fs, name, new_name) = (self.clone(), from.1.to_owned(), to.1.to_owned());
        let call = async move {
            let (source, target) = ((source, name.as_str()), (target, new_name.as_str()));
            fs.bounded("rename", fs.backend.rename(caller, source, target, no_replace)).await
        };
        let changing = self.own.begin(&[from, to]);
        changing.ended(self.taking_name(who, target, to.1, call).await)?;
        self.forget_attr(from.0);
        self.forget_attr(to.0);
        Ok(())
    }

    /// Changes attributes. The size goes first: it may be refused.
    ///
    /// # Errors
    /// `Unimplemented` for a size that is neither 0 nor the file's, `ReadOnly`, and what the cluster says.
    pub async fn setattr(self: &Arc<Fs>, who: Who, node: u64, set: SetAttr) -> Result<Stat> {
        self.require_writable()?;
        if let Some(size) = set.size {
            self.truncate(who, node, size).await?;
        }
        let mut change = AttrChange {
            mode: set.mode.map(|mode| mode & 0o7777),
            mtime_ms: set.mtime.map(millis),
            atime_ms: set.atime.map(millis),
            ..AttrChange::default()
        };
        if let Some(uid) = set.uid {
            change.owner = Some(self.owners.names(uid, set.gid.unwrap_or(who.gid)).await.0);
        }
        if let Some(gid) = set.gid {
            change.group = Some(self.owners.names(set.uid.unwrap_or(who.uid), gid).await.1);
        }
        if change == AttrChange::default() {
            return self.getattr(who, node).await;
        }
        let caller = self.caller(who).await;
        let mtime_ms = change.mtime_ms;
        let call = self.backend.set_attr(caller, node::master(node), change);
        let attr = self.bounded("setattr", call).await.map_err(|error| gone(error, node))?;
        if let (Some(mtime_ms), Some(writing)) = (mtime_ms, self.writing_of(ContentId(attr.content))) {
            writing.set_mtime(mtime_ms);
        }
        self.remember(&attr);
        Ok(self.stat(&attr).await)
    }
}
