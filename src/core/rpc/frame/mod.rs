//! Frames: our own fast transport over TCP or a Unix socket.
//!
//! A connection starts with a magic number (so that a server can tell it from HTTP/2) and `Hello` both ways, where the
//! cluster marks are compared. After that each frame is a fixed header (length of message and payload, stream number,
//! method or status, flags), a prost message and a raw payload. Streams are multiplexed; payload flows under credit, so
//! one slow reader stops nobody else.

mod client;
mod server;

pub use client::{Channel, Duplex, Payloads, Target};
pub use server::{Call, FrameService, Incoming, Peer};
