//! Owner, mode, times, pin, time to live and extended attributes.

use super::Namespace;
use super::inode::Inode;
use super::step::{Step, invalid};
use goosefs_core::error::Result;
use goosefs_core::id::InodeId;
use goosefs_core::proto::journal::SetAttributes;

/// Longest name of an extended attribute, as on Linux.
const XATTR_NAME_MAX: usize = 255;

/// Longest value of an extended attribute, as on Linux.
const XATTR_VALUE_MAX: usize = 64 * 1024;

/// Names and values of one inode's extended attributes together, as ext4 with large values.
const XATTR_TOTAL_MAX: usize = 256 * 1024;

impl Namespace {
    pub(super) fn set_attributes(&mut self, step: &mut Step, command: &SetAttributes) -> Result<()> {
        let id = self.inode_of(command.inode)?;
        let all = if command.recursive { self.subtree(id) } else { vec![id] };
        check_values(command)?;
        for id in &all {
            let inode = self.node(*id)?;
            check_xattr_room(inode, command)?;
            if touches_storage(command) {
                step.check_writable(self.mount_of(inode.mount))?;
            }
        }
        for id in all {
            self.set_one(step, id, command);
            self.tell(step, id);
        }
        step.answer(self.attr_of(id)?);
        Ok(())
    }

    fn set_one(&mut self, step: &Step, id: InodeId, command: &SetAttributes) {
        let Some(inode) = self.inodes.get(id) else { return };
        let have = self.identities.get(inode.identity).clone();
        let owner = command.owner.as_deref().unwrap_or(&have.owner);
        let group = command.group.as_deref().unwrap_or(&have.group);
        let identity = self.identities.intern(owner, group, command.mode.unwrap_or(have.mode));
        let now_ms = step.now_ms;
        self.edit(id, |inode| {
            inode.identity = identity;
            inode.ctime_ms = now_ms;
            if let Some(mtime_ms) = command.mtime_ms {
                inode.set_mtime(mtime_ms);
            }
            inode.atime_ms = command.atime_ms.unwrap_or(inode.atime_ms);
            inode.pinned = command.pinned.unwrap_or(inode.pinned);
            set_extra(inode, command);
        });
    }
}

fn set_extra(inode: &mut Inode, command: &SetAttributes) {
    let untouched = command.ttl_ms.is_none()
        && command.ttl_action.is_none()
        && command.set_xattr.is_empty()
        && command.remove_xattr.is_empty();
    if untouched {
        return;
    }
    let rare = inode.rare_mut();
    if let Some(ttl_ms) = command.ttl_ms {
        // Negative is "lives for ever", as in the GooseFS protocol.
        rare.ttl_ms = (ttl_ms >= 0).then_some(ttl_ms);
    }
    rare.ttl_action = command.ttl_action.unwrap_or(rare.ttl_action);
    for name in &command.remove_xattr {
        rare.xattr.remove(name);
    }
    for (name, value) in &command.set_xattr {
        // Not the entry's own buffer, which would live as long as the attribute.
        rare.xattr.insert(name.clone(), bytes::Bytes::copy_from_slice(value));
    }
    inode.trim_extra();
}

/// Whether it changes what a read-only storage has too; pins and the like are the cache's own.
fn touches_storage(command: &SetAttributes) -> bool {
    command.mode.is_some()
        || command.owner.is_some()
        || command.group.is_some()
        || command.mtime_ms.is_some()
        || command.atime_ms.is_some()
}

fn check_values(command: &SetAttributes) -> Result<()> {
    if let Some(mode) = command.mode.filter(|mode| mode & !0o7777 != 0) {
        return Err(invalid(format!("mode {mode:o} has bits beyond 7777")));
    }
    for (name, value) in &command.set_xattr {
        if name.is_empty() || name.len() > XATTR_NAME_MAX || name.contains('\0') {
            return Err(invalid(format!("\"{name}\" cannot be the name of an extended attribute")));
        }
        if value.len() > XATTR_VALUE_MAX {
            let text = format!("{} bytes are too many for the extended attribute {name}", value.len());
            return Err(invalid(text).hint(format!("up to {XATTR_VALUE_MAX} are allowed")));
        }
    }
    Ok(())
}

fn check_xattr_room(inode: &Inode, command: &SetAttributes) -> Result<()> {
    if command.set_xattr.is_empty() {
        return Ok(());
    }
    let kept = inode.rare().into_iter().flat_map(|rare| rare.xattr.iter());
    let kept = kept.filter(|(name, _)| !command.set_xattr.contains_key(*name));
    let sizes = kept.chain(&command.set_xattr).map(|(name, value)| name.len() + value.len());
    if sizes.sum::<usize>() > XATTR_TOTAL_MAX {
        return Err(invalid(format!("extended attributes of one entry are over {XATTR_TOTAL_MAX} bytes")));
    }
    Ok(())
}
