//! What waits to be written to a connection, and the writing of it.
//!
//! Two queues. `urgent` holds whole small frames (requests, answers, credit, pings) as one run of bytes; many of them
//! leave with one system call. `bulk` holds payloads; it is bounded, and senders wait for room. Urgent bytes overtake
//! bulk between batches of about 1 MiB, so that a big stream does not delay small calls; frames of one stream that must
//! keep their order are therefore all put into the same queue.
//!
//! With no other call under way (long polls aside) the sender writes at once on its own task ([`Outbox::flush`] with `inline`), which saves
//! the wake-up of the writer; under load the writer collects what many senders queue.

use super::reader::broken;
use super::socket::Socket;
use crate::error::Result;
use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;
use tokio::sync::{Notify, mpsc};

/// Senders of payloads wait while so many bytes are queued.
const BULK_ROOM: usize = 4 << 20;

/// Answers wait, and a server reads no more requests, while so many bytes of small frames are queued: their reader is
/// slow.
const URGENT_ROOM: usize = 4 << 20;

/// Bytes of `bulk` that one batch takes.
const BATCH: usize = 1 << 20;

/// Buffers that one system call takes.
const SLICES: usize = 64;

/// A part of the outgoing byte stream.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A range of a file.
    File {
        /// Which.
        file: Arc<File>,
        /// Where the rest of the range starts.
        offset: u64,
        /// Bytes left.
        length: usize,
        /// Dropped with the piece: its sender waits for that.
        _queued: mpsc::Sender<Infallible>,
    },
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Piece::Bytes(bytes) => bytes.len(),
            Piece::File { length, .. } => *length,
        }
    }
}

/// The queues of one connection.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    work: Notify,
    progress: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The rest of an urgent run that was written in part: goes first.
    started: Bytes,
    urgent: BytesMut,
    bulk: VecDeque<Piece>,
    bulk_bytes: usize,
    /// Somebody is writing what was taken.
    writing: bool,
    /// The reader will flush when it has answered all it has read.
    corked: bool,
    closed: bool,
}

impl State {
    fn is_empty(&self) -> bool {
        self.started.is_empty() && self.urgent.is_empty() && self.bulk.is_empty()
    }

    /// What is written next, in order, with the count of its bulk bytes.
    fn take(&mut self) -> Option<(VecDeque<Piece>, usize)> {
        if self.writing || self.is_empty() {
            return None;
        }
        let mut batch = VecDeque::new();
        if !self.started.is_empty() {
            batch.push_back(Piece::Bytes(std::mem::take(&mut self.started)));
        }
        if !self.urgent.is_empty() {
            batch.push_back(Piece::Bytes(self.urgent.split().freeze()));
        }
        let mut bulk = 0;
        while bulk < BATCH
            && let Some(piece) = self.bulk.pop_front()
        {
            bulk += piece.len();
            batch.push_back(piece);
        }
        self.writing = true;
        Some((batch, bulk))
    }
}

impl Outbox {
    /// Queues small frames: `encode` appends them. Nothing leaves before [`Outbox::flush`].
    ///
    /// # Errors
    /// Those of `encode`, which then must have appended nothing.
    pub(crate) fn urgent(&self, encode: impl FnOnce(&mut BytesMut) -> Result<()>) -> Result<()> {
        let mut state = self.state.lock();
        if state.closed { Ok(()) } else { encode(&mut state.urgent) }
    }

    /// Queues pieces of payload frames; wait for [`Outbox::bulk_room`] before.
    pub(crate) fn bulk(&self, pieces: impl IntoIterator<Item = Piece>) {
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        for piece in pieces.into_iter().filter(|piece| piece.len() > 0) {
            state.bulk_bytes += piece.len();
            state.bulk.push_back(piece);
        }
    }

    /// Waits until payloads may be queued, or the connection is closed.
    pub(crate) async fn bulk_room(&self) {
        self.wait(|state| state.bulk_bytes < BULK_ROOM).await;
    }

    /// Waits until small frames may be queued, or the connection is closed.
    pub(crate) async fn urgent_room(&self) {
        if self.state.lock().urgent.len() < URGENT_ROOM {
            return;
        }
        self.wait(|state| state.urgent.len() < URGENT_ROOM).await;
    }

    /// Waits until everything was written, or the connection is closed.
    pub(crate) async fn flushed(&self) {
        self.wait(|state| state.is_empty() && !state.writing).await;
    }

    async fn wait(&self, ready: impl Fn(&State) -> bool) {
        loop {
            let mut progress = std::pin::pin!(self.progress.notified());
            progress.as_mut().enable();
            {
                let state = self.state.lock();
                if state.closed || ready(&state) {
                    return;
                }
            }
            progress.await;
        }
    }

    /// Holds back what is queued until [`Outbox::uncork`].
    pub(crate) fn cork(&self) {
        self.state.lock().corked = true;
    }

    /// Ends [`Outbox::cork`]; flush afterwards.
    pub(crate) fn uncork(&self) {
        self.state.lock().corked = false;
    }

    /// Sends what is queued: `inline` tries on the caller's task first, if nobody writes at the moment and only small
    /// frames wait. The rest is the writer's.
    ///
    /// # Errors
    /// `Unavailable` when the connection broke.
    pub(crate) fn flush(&self, socket: &Socket, inline: bool) -> Result<()> {
        let mut state = self.state.lock();
        if state.writing || state.corked {
            // Whoever writes looks again before it stops, and whoever corked flushes.
            return Ok(());
        }
        if !inline || !state.bulk.is_empty() || !state.started.is_empty() {
            drop(state);
            self.work.notify_one();
            return Ok(());
        }
        if state.urgent.is_empty() {
            return Ok(());
        }
        state.writing = true;
        let mut run = state.urgent.split();
        drop(state);
        let written = loop {
            match socket.try_write(&run) {
                Ok(count) => {
                    run.advance(count);
                    break Ok(());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(broken(error)),
            }
        };
        let mut state = self.state.lock();
        state.writing = false;
        if !run.is_empty() {
            state.started = run.freeze();
        }
        let more = !state.is_empty();
        drop(state);
        if more {
            self.work.notify_one();
        } else {
            self.progress.notify_waiters();
        }
        written
    }

    /// Writes what is queued until the connection is closed.
    ///
    /// # Errors
    /// `Unavailable` when the connection broke.
    pub(crate) async fn run(&self, socket: &Socket) -> Result<()> {
        loop {
            let (batch, bulk) = match self.next_batch() {
                Next::Batch(batch, bulk) => (batch, bulk),
                Next::Closed => return Ok(()),
                Next::Nothing => {
                    self.work.notified().await;
                    // Let those who are about to queue more do so: one system call for all of them.
                    tokio::task::yield_now().await;
                    continue;
                }
            };
            let written = write(socket, batch).await;
            {
                let mut state = self.state.lock();
                state.writing = false;
                state.bulk_bytes -= bulk;
            }
            self.progress.notify_waiters();
            written.map_err(broken)?;
        }
    }

    fn next_batch(&self) -> Next {
        let mut state = self.state.lock();
        if state.closed {
            return Next::Closed;
        }
        match state.take() {
            Some((batch, bulk)) => Next::Batch(batch, bulk),
            None => Next::Nothing,
        }
    }

    /// Gives idle memory back.
    pub(crate) fn trim(&self) {
        let mut state = self.state.lock();
        if state.is_empty() {
            state.urgent = BytesMut::new();
            state.bulk = VecDeque::new();
        }
    }

    /// Drops what is queued and takes no more.
    pub(crate) fn close(&self) {
        {
            let mut state = self.state.lock();
            state.closed = true;
            state.started = Bytes::new();
            state.urgent = BytesMut::new();
            state.bulk.clear();
        }
        self.work.notify_one();
        self.progress.notify_waiters();
    }
}

enum Next {
    Batch(VecDeque<Piece>, usize),
    Nothing,
    Closed,
}

async fn write(socket: &Socket, mut batch: VecDeque<Piece>) -> io::Result<()> {
    while let Some(first) = batch.front_mut() {
        let attempt = match first {
            Piece::File { file, offset, length, .. } => socket.try_send_file(file, *offset, *length),
            Piece::Bytes(_) => write_bytes(socket, &batch),
        };
        match attempt {
            // The length was announced in a frame header: there is no way to say less than that.
            Ok(0) => {
                return Err(io::Error::new(
                    ErrorKind::UnexpectedEof,
                    "a file became shorter while it was sent",
                ));
            }
            Ok(count) => advance(&mut batch, count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => socket.writable().await?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn write_bytes(socket: &Socket, batch: &VecDeque<Piece>) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let mut count = 0;
    for piece in batch.iter().take(SLICES) {
        let Piece::Bytes(bytes) = piece else { break };
        slices[count] = IoSlice::new(bytes);
        count += 1;
    }
    socket.try_write_vectored(&slices[..count])
}

fn advance(batch: &mut VecDeque<Piece>, mut count: usize) {
    while count > 0 {
        let Some(first) = batch.front_mut() else { return };
        let here = count.min(first.len());
        match first {
            Piece::Bytes(bytes) => bytes.advance(here),
            Piece::File { offset, length, .. } => {
                *offset += here as u64;
                *length -= here;
            }
        }
        count -= here;
        if first.len() == 0 {
            batch.pop_front();
        }
    }
}
