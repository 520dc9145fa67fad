//! Frames: our own fast transport over TCP or a Unix socket.
//!
//! A connection starts with a magic number (so that a server can tell it from HTTP/2) and `Hello` both ways, where the
//! cluster marks are compared. After that each frame is a fixed header (length of message and payload, stream number,
//! method or status, flags), a prost message and a raw payload. Streams are multiplexed; payload flows under credit, so
//! one slow reader stops nobody else.
//!
//! What callers may rely on:
//! - A call ends with the peer's answer or error, or with `Unavailable` when the connection breaks: then nobody knows
//!   whether it was carried out. A peer that is silent for [`KeepAlive::idle`] and does not answer a ping within
//!   [`KeepAlive::timeout`] is taken for gone.
//! - Payload boundaries are not kept: payloads are split and joined as credit allows, their bytes and order stay.
//! - Dropping a call, a `Payloads` or a `Duplex` tells the server, which cancels [`Call::cancelled`]; a handler is never
//!   torn down in the middle of its work.
//! - One message has at most 4 MiB, one payload frame at most 1 MiB; a peer that sends more is cut off.
//!
//! | file | owns |
//! |---|---|
//! | `wire` | magic, header, limits |
//! | `socket` | TCP or Unix |
//! | `reader` | frames out of a socket |
//! | `outbox` | what waits to be written, and the writing |
//! | `stream` | one stream's received items and credit |
//! | `link` | what both sides of a connection share |
//! | `client` | the calling side |
//! | `server` | the answering side as handlers see it |
//! | `serve` | the answering side's connection: handshake, dispatch, drain |
//! | `warm` | whether `sendfile` would wait for a disk |

#[cfg(test)]
mod bench;
mod client;
mod link;
mod outbox;
mod reader;
mod serve;
mod server;
mod socket;
mod stream;
#[cfg(test)]
mod tests;
mod warm;
pub(crate) mod wire;

pub use client::{Channel, Duplex, Payloads, Target};
pub use link::KeepAlive;
pub(crate) use reader::broken;
pub use serve::check_cluster;
pub(crate) use serve::serve_connection;
pub use server::{BriefCall, Call, FrameService, Incoming, Peer};
pub(crate) use socket::Socket;
pub(crate) use wire::MAGIC;
