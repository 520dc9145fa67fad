//! Metadata: the namespace as the leading master has it.
//!
//! [`Inodes`] addresses by inode, as FUSE does; [`Paths`] by path, as a command line does. Nothing is cached here: FUSE
//! has the kernel's cache and voids it by [`crate::changes`].

mod inodes;
mod paths;

pub use inodes::{Changes, CreateOptions, Inodes};
pub use paths::Paths;
