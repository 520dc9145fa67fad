//! What a replicated state machine gives to Raft.

use crate::error::Result;
use bytes::Bytes;
use std::io::{self, Read, Write};

/// A deterministic state machine over opaque commands. Called from one thread at a time, but `freeze`'s product is
/// written while further commands are applied.
pub trait Machine: Send + Sync + 'static {
    /// Applies committed commands in the order of their log index and answers each. The answer reaches the proposer on
    /// the leader and nobody elsewhere.
    fn apply(&self, entries: &[(u64, Bytes)]) -> Vec<Bytes>;

    /// A point-in-time image, cheap to take (copy on write), written out later on another thread.
    fn freeze(&self) -> Box<dyn Frozen>;

    /// Replaces the whole state by an image that [`Frozen::write`] made. Bytes were checked against their checksum.
    ///
    /// # Errors
    /// When the image cannot be read; the node then stops.
    fn restore(&self, image: &mut dyn Read) -> Result<()>;
}

/// An image of a [`Machine`] at one moment.
pub trait Frozen: Send {
    /// Writes the image.
    ///
    /// # Errors
    /// Those of `out`.
    fn write(&self, out: &mut dyn Write) -> io::Result<()>;

    /// How many records it has, for people.
    fn records(&self) -> u64;
}
