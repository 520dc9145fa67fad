//! Which way each open file takes, and what is kept for the next open.
//!
//! [`modes`] is the table of the kernel's rules: a plain struct that decides every open. [`kept`] remembers registered
//! backing files after their last close, within bounds, so that small files do not pay a round trip per open. Both are
//! guarded by the file system's own lock; neither does any I/O beyond giving a backing file up when it is dropped.

pub mod kept;
pub mod modes;

use crate::kernel::Kernel;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// A cached file that the kernel knows as a backing file. Dropping it gives the kernel's id and the worker's lease up,
/// which must not happen while an open uses it: whoever holds an open holds an `Arc` of this.
pub struct Backing {
    id: u32,
    generation: u64,
    length: u64,
    kernel: Arc<dyn Kernel>,
    lease: Box<dyn Lease>,
}

/// What keeps the worker from evicting the file; given back by its drop.
pub trait Lease: Any + Send + Sync {
    /// Whether the worker still honours it. A lease ends with the connection that took it.
    fn is_alive(&self) -> bool;
}

impl Backing {
    /// Takes over the kernel's `id`, which stands for bytes of `generation`, `length` of them.
    #[must_use]
    pub fn new(
        id: u32,
        generation: u64,
        length: u64,
        kernel: Arc<dyn Kernel>,
        lease: Box<dyn Lease>,
    ) -> Arc<Backing> {
        Arc::new(Backing { id, generation, length, kernel, lease })
    }

    /// The kernel's number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Which generation of the content these bytes are.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The file's length, which is what keeping it costs the worker.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Whether the worker still knows that the file is in use.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.lease.is_alive()
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        self.kernel.unregister(self.id);
    }
}

impl fmt::Debug for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Backing({}, generation {})", self.id, self.generation)
    }
}
