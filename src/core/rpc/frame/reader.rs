//! Frames out of a socket: a buffer for small frames, pooled memory for large payloads.
//!
//! Small frames are cut out of one 64 KiB buffer, many per system call. A payload that does not fit is received
//! straight into a buffer of its own, which goes back to the connection's pool when its last user drops it: fresh
//! memory would cost a page fault every 4 KiB.

use super::socket::Socket;
use super::wire::{HEADER, Header, MAX_PAYLOAD};
use crate::error::{Code, Error, Result};
use bytes::Bytes;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;

const BUFFER: usize = 64 << 10;

/// Payloads from this size on have memory of their own from the pool.
const POOLED: usize = 64 << 10;

/// At most so many idle buffers are kept, each of at most [`MAX_PAYLOAD`].
const KEPT: usize = 8;

/// Idle receive buffers of one connection.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: Mutex<Vec<Vec<u8>>>,
}

impl Pool {
    fn take(&self, length: usize) -> Vec<u8> {
        let mut idle = self.idle.lock();
        match idle.iter().position(|buffer| buffer.len() >= length) {
            Some(found) => idle.swap_remove(found),
            None => vec![0; length.next_power_of_two()],
        }
    }

    fn give_back(&self, buffer: Vec<u8>) {
        let mut idle = self.idle.lock();
        if idle.len() < KEPT {
            idle.push(buffer);
        }
    }

    /// Frees what is idle.
    pub(crate) fn clear(&self) {
        *self.idle.lock() = Vec::new();
    }
}

/// A pooled buffer that is in use.
struct Pooled {
    buffer: Vec<u8>,
    length: usize,
    pool: Arc<Pool>,
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.buffer));
    }
}

/// One received frame.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) header: Header,
    pub(crate) message: Bytes,
    pub(crate) payload: Bytes,
}

/// Takes frames off a socket.
#[derive(Debug)]
pub(crate) struct Reader {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    max_message: usize,
    pool: Arc<Pool>,
}

impl Reader {
    /// Nothing read yet; messages over `max_message` bytes are refused.
    pub(crate) fn new(pool: Arc<Pool>, max_message: usize) -> Reader {
        Reader { buffer: vec![0; BUFFER].into_boxed_slice(), start: 0, end: 0, max_message, pool }
    }

    /// Allows messages up to `max_message` bytes from now on.
    pub(crate) fn allow(&mut self, max_message: usize) {
        self.max_message = max_message;
    }

    /// Takes exactly `N` raw bytes, before frames begin.
    ///
    /// # Errors
    /// As [`Reader::next`].
    pub(crate) async fn raw<const N: usize>(&mut self, socket: &Socket) -> Result<[u8; N]> {
        while self.end - self.start < N {
            self.fill(socket).await?;
        }
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.buffer[self.start..self.start + N]);
        self.start += N;
        Ok(bytes)
    }

    /// The next frame if it has arrived as a whole; does not touch the socket.
    ///
    /// # Errors
    /// `Corrupt` for a frame outside the limits.
    pub(crate) fn buffered(&mut self) -> Result<Option<Frame>> {
        let Some(header) = self.peek()? else { return Ok(None) };
        if self.end - self.start < HEADER + header.body() {
            return Ok(None);
        }
        self.start += HEADER;
        let message = self.cut(header.message);
        let payload = self.cut(header.payload);
        Ok(Some(Frame { header, message, payload }))
    }

    /// The next frame. Cancelling this loses the connection's place: only drop it together with the connection.
    ///
    /// # Errors
    /// `Unavailable` when the connection ends, `Corrupt` for a frame outside the limits.
    pub(crate) async fn next(&mut self, socket: &Socket) -> Result<Frame> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(frame);
            }
            match self.peek()? {
                Some(header) if HEADER + header.body() > BUFFER => {
                    self.start += HEADER;
                    let message = self.receive(socket, header.message).await?;
                    let payload = self.receive(socket, header.payload).await?;
                    return Ok(Frame { header, message, payload });
                }
                _ => self.fill(socket).await?,
            }
        }
    }

    fn peek(&self) -> Result<Option<Header>> {
        match self.buffer[self.start..self.end].first_chunk() {
            Some(bytes) => Header::decode(bytes, self.max_message).map(Some),
            None => Ok(None),
        }
    }

    fn cut(&mut self, length: usize) -> Bytes {
        if length == 0 {
            return Bytes::new();
        }
        let bytes = Bytes::copy_from_slice(&self.buffer[self.start..self.start + length]);
        self.start += length;
        bytes
    }

    /// Takes `length` bytes, the rest of them straight from the socket.
    async fn receive(&mut self, socket: &Socket, length: usize) -> Result<Bytes> {
        if length <= self.end - self.start {
            return Ok(self.cut(length));
        }
        let pooled = (POOLED..=MAX_PAYLOAD).contains(&length);
        let mut into = if pooled { self.pool.take(length) } else { vec![0; length] };
        let mut filled = self.end - self.start;
        into[..filled].copy_from_slice(&self.buffer[self.start..self.end]);
        self.start = self.end;
        while filled < length {
            filled += read(socket, &mut into[filled..length]).await?;
        }
        if pooled {
            Ok(Bytes::from_owner(Pooled { buffer: into, length, pool: Arc::clone(&self.pool) }))
        } else {
            Ok(Bytes::from(into))
        }
    }

    async fn fill(&mut self, socket: &Socket) -> Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 && BUFFER - self.end < BUFFER / 4 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        self.end += read(socket, &mut self.buffer[self.end..]).await?;
        Ok(())
    }
}

async fn read(socket: &Socket, into: &mut [u8]) -> Result<usize> {
    loop {
        // A peer that never stops sending must not keep a runtime thread for itself.
        tokio::task::coop::consume_budget().await;
        match socket.try_read(into) {
            Ok(0) => {
                return Err(Error::new(Code::Unavailable, "the connection was closed by the other side"));
            }
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                socket.readable().await.map_err(broken)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(broken(error)),
        }
    }
}

/// The connection broke.
pub(crate) fn broken(error: io::Error) -> Error {
    Error::new(Code::Unavailable, format!("the connection broke: {error}")).caused_by(error)
}
