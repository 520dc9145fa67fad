//! The block store: cached bytes of contents as sparse files on a worker's disks, with everything that makes them
//! trustworthy. No async and no network: the worker calls it, from blocking threads where a call says it touches the
//! disk.
//!
//! A walk through the room:
//!
//! | file | owns |
//! |---|---|
//! | [`pages`] | which 1 MiB pages of a block are there, their crc32c, whether they were verified |
//! | [`index`] | what is cached where, as plain data: `apply(input)` answers with effects and touches no disk |
//! | [`quota`] | bytes of one directory: cached, reserved, on their way out, unlinked but still open |
//! | [`evict`] | the order in which blocks go (a trait, LRU) |
//! | [`place`] | which directory of which tier takes a new block |
//! | [`container`] | one sparse file per content and directory; hole punching; what a directory's file system can do |
//! | [`identity`] | whose directory it is: worker, cluster and epoch |
//! | [`mirror`] | the index on disk (sled), written behind, flushed before anything is removed |
//! | [`held`] | the log of unpersisted blocks, the only copies there are |
//! | [`store`] | the facade: locks the index, carries out effects in the order that keeps promises |
//! | [`mod@read`], [`mod@write`], [`lease`], [`verify`] | reading and filling pages, writing blocks, handing out descriptors, checking after an unclean stop |
//!
//! Two promises hold whatever is killed when. A page is in the index only after its bytes are in the file, and leaves
//! the index *on disk* before they leave the file, so an index never names a page of zeros. And a container whose
//! descriptor was ever handed out is never punched, because the kernel reads it without asking.

pub mod container;
pub mod evict;
pub mod held;
pub mod identity;
pub mod index;
pub mod lease;
pub mod mirror;
pub mod pages;
pub mod place;
pub mod quota;
pub mod read;
mod record;
pub mod store;
pub mod verify;
pub mod write;

#[cfg(test)]
mod tests;

pub use identity::Mark;
pub use index::{Content, DirId};
pub use lease::{HandOut, Lease};
pub use pages::PAGE;
pub use read::{BlockSlot, PageRead, Pin};
pub use store::{DirSpec, Store, StoreConfig, TierSpec, Usage};
pub use write::BlockWriter;
