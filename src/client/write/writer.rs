//! A sequential writer of one file.

use crate::config::Config;
use crate::meta::Inodes;
use crate::metrics::ClientMetrics;
use crate::read::channels::Channels;
use crate::route::{Router, Worker};
use crate::write::window::Window;
use bytes::Bytes;
use futures::FutureExt;
use goosefs_core::id::{ContentId, WorkerId};
use goosefs_core::proto::internal::{
    Attr, Caller, WriteContentRequest, WriteContentResponse, WriteFlush, WriteType,
};
use goosefs_core::proto::method;
use goosefs_core::rpc::frame::Duplex;
use goosefs_core::{Code, Error, Result};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of one frame.
const PIECE: usize = 1 << 20;

/// First and longest pause between two rounds in which no worker took the stream.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What every writer of a client shares.
#[derive(Debug)]
pub(crate) struct Writers {
    inodes: Inodes,
    router: Router,
    channels: Arc<Channels>,
    metrics: ClientMetrics,
    window: u64,
    timeout: Duration,
    patience: Duration,
}

impl Writers {
    pub(crate) fn new(
        inodes: Inodes,
        router: Router,
        channels: Arc<Channels>,
        metrics: ClientMetrics,
        config: &Config,
    ) -> Writers {
        Writers {
            inodes,
            router,
            channels,
            metrics,
            window: config.write_window.max(2 * PIECE as u64),
            timeout: config.worker_timeout,
            patience: config.worker_patience,
        }
    }
}

/// Writes a new (or truncated) file from its first byte to its last.
///
/// Bytes go to one worker; what no quorum of masters knows of yet is kept, so that another worker can take over when
/// that one dies. Bytes that were committed live on their worker alone until the file is persisted: when that worker
/// dies in the middle of a block the writer waits for it, and fails if it does not come back.
///
/// After an error the writer stays failed; the file stays incomplete. Dropping a writer without [`Writer::close`] does
/// the same.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Writers>,
    content: ContentId,
    block_size: u64,
    generation: u64,
    through: bool,
    caller: Caller,
    window: Window,
    stream: Option<Stream>,
    /// The worker that has the committed bytes.
    holder: Option<WorkerId>,
    persisted: u64,
    /// Workers that have no room.
    full: BTreeSet<WorkerId>,
    /// Since when streams break without a commit in between.
    troubled: Option<Instant>,
    failed: Option<Error>,
}

#[derive(Debug)]
struct Stream {
    worker: Worker,
    duplex: Duplex,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Writers>, attr: &Attr, caller: &Caller) -> Writer {
        Writer {
            shared,
            content: ContentId(attr.content),
            block_size: if attr.block_size == 0 { 64 << 20 } else { attr.block_size },
            generation: attr.generation,
            through: matches!(attr.write_type(), WriteType::CacheThrough | WriteType::Through),
            caller: caller.clone(),
            window: Window::default(),
            stream: None,
            holder: None,
            persisted: 0,
            full: BTreeSet::new(),
            troubled: None,
            failed: None,
        }
    }

    /// Which content is written.
    #[must_use]
    pub fn content(&self) -> ContentId {
        self.content
    }

    /// Where the next write must begin: the bytes written so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.window.position()
    }

    /// Takes `bytes`, which must begin at [`Writer::position`]. Returns when a worker was sent them; they are safe after
    /// [`Writer::flush`].
    ///
    /// # Errors
    /// `InvalidArgument` when `offset` is elsewhere (the writer stays usable); `NoSpace` when no worker has room,
    /// `Stale` when the file was truncated or replaced meanwhile, `Unavailable` when no worker takes them in time.
    pub async fn write(&mut self, offset: u64, bytes: Bytes) -> Result<()> {
        self.check()?;
        if offset != self.position() {
            return Err(Error::new(
                Code::InvalidArgument,
                format!(
                    "a write at {offset} of a file that is written sequentially and is at {}",
                    self.position()
                ),
            )
            .hint("files are written from their first byte to their last"));
        }
        let written = self.take(bytes).await;
        self.keep(written)
    }

    /// Waits until a quorum of masters knows where every byte written so far is.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub async fn flush(&mut self) -> Result<()> {
        self.check()?;
        let flushed = self.commit_all().await;
        self.keep(flushed)
    }

    /// [`Writer::flush`], and uploads the file to its under-storage when its write type says so. Repeating it without a
    /// write in between costs nothing.
    ///
    /// # Errors
    /// As [`Writer::write`], and as [`Inodes::persist`]; after the latter the writer stays usable, so that a sync may be
    /// tried again.
    pub async fn sync(&mut self) -> Result<()> {
        self.flush().await?;
        let length = self.position();
        if self.through && length > self.persisted {
            self.shared.inodes.persist(self.content, length, &self.caller).await?;
            self.persisted = length;
        }
        Ok(())
    }

    /// Commits what is left and completes the file; answers after the under-storage has it when the write type asks
    /// for that. Returns the completed file's attributes.
    ///
    /// # Errors
    /// As [`Writer::sync`]. May be repeated after an error of the master's.
    pub async fn close(&mut self) -> Result<Attr> {
        self.check()?;
        let ended = self.end_stream().await;
        self.keep(ended)?;
        self.shared.inodes.complete(self.content, self.position(), &self.caller).await
    }

    fn check(&self) -> Result<()> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn keep<T>(&mut self, outcome: Result<T>) -> Result<T> {
        if let Err(error) = &outcome {
            self.failed = Some(error.clone());
            self.stream = None;
        }
        outcome
    }

    async fn take(&mut self, mut bytes: Bytes) -> Result<()> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE));
            self.shared.metrics.written.inc_by(piece.len() as u64);
            self.window.push(piece.clone());
            // A new stream begins with everything that is kept, this piece included.
            let fresh = self.stream.is_none();
            let sent = if fresh { Ok(()) } else { self.send(piece).await };
            if fresh || sent.is_err() {
                self.connect(sent.err()).await?;
            }
            if self.window.should_ask(self.shared.window / 2) {
                self.ask_commit().await?;
            }
            self.absorb(self.shared.window).await?;
        }
        Ok(())
    }

    async fn send(&mut self, piece: Bytes) -> Result<()> {
        let timeout = self.shared.timeout;
        let Some(stream) = &mut self.stream else { return Ok(()) };
        within(&stream.worker, timeout, stream.duplex.send(piece)).await
    }

    async fn ask_commit(&mut self) -> Result<()> {
        let timeout = self.shared.timeout;
        let Some(stream) = &mut self.stream else { return Ok(()) };
        let asked = within(&stream.worker, timeout, stream.duplex.send_message(&WriteFlush {})).await;
        match asked {
            Ok(()) => Ok(()),
            Err(error) => self.connect(Some(error)).await,
        }
    }

    /// Takes in the worker's answers, and waits for them while more than `limit` bytes are uncommitted.
    async fn absorb(&mut self, limit: u64) -> Result<()> {
        loop {
            let must_wait = self.window.uncommitted() > limit;
            let answer = match self.receive(must_wait).await {
                Ok(None) if must_wait => {
                    Err(Error::new(Code::Unavailable, "a worker ended a write stream early"))
                }
                answer => answer,
            };
            match answer {
                Ok(None) => return Ok(()),
                Ok(Some(answer)) => {
                    if answer.committed > self.window.committed() {
                        self.troubled = None;
                    }
                    self.window.commit(answer.committed)?;
                    self.holder = self.stream.as_ref().map(|stream| stream.worker.id);
                }
                Err(error) => {
                    self.connect(Some(error)).await?;
                    self.ask_commit_again(limit).await?;
                }
            }
        }
    }

    /// A new stream does not know that a commit was asked for on the old one.
    async fn ask_commit_again(&mut self, limit: u64) -> Result<()> {
        let timeout = self.shared.timeout;
        if self.window.uncommitted() <= limit {
            return Ok(());
        }
        let Some(stream) = &mut self.stream else { return Ok(()) };
        // If this fails, so does the receive that follows, and the stream is made anew.
        let _ = within(&stream.worker, timeout, stream.duplex.send_message(&WriteFlush {})).await;
        Ok(())
    }

    /// The worker's next answer; `None` when there is none yet and `wait` is not set, or when it ended the stream.
    async fn receive(&mut self, wait: bool) -> Result<Option<WriteContentResponse>> {
        let timeout = self.shared.timeout;
        let Some(stream) = &mut self.stream else { return Ok(None) };
        if wait {
            return within(&stream.worker, timeout, stream.duplex.receive()).await;
        }
        stream.duplex.receive().now_or_never().unwrap_or(Ok(None))
    }

    async fn commit_all(&mut self) -> Result<()> {
        if self.window.uncommitted() == 0 {
            return Ok(());
        }
        if self.stream.is_none() {
            self.connect(None).await?;
        }
        self.ask_commit().await?;
        self.absorb(0).await
    }

    async fn end_stream(&mut self) -> Result<()> {
        self.commit_all().await?;
        if let Some(mut stream) = self.stream.take() {
            // Everything is committed: how the stream ends does not matter any more.
            let ended = within(&stream.worker, self.shared.timeout, stream.duplex.finish_sending()).await;
            if let Err(error) = ended {
                tracing::debug!(content = %self.content, %error, "a write stream ended badly after its last commit");
            }
        }
        Ok(())
    }

    /// Opens a stream at the first uncommitted byte and sends what is kept, to the next worker that takes it.
    async fn connect(&mut self, cause: Option<Error>) -> Result<()> {
        let begun = Instant::now();
        let mut pause = PAUSE;
        let mut error = cause;
        if let Some(error) = &error {
            self.gave_up_on_stream(error)?;
            // Workers that take streams only to break them are not asked in a tight loop, nor for ever.
            match self.troubled {
                None => self.troubled = Some(begun),
                Some(since) if since.elapsed() >= self.shared.patience => return Err(error.clone()),
                Some(_) => tokio::time::sleep(PAUSE).await,
            }
        }
        loop {
            if let Err(error) = self.shared.router.ensure().await {
                tracing::debug!(%error, "no list of workers yet");
            }
            let candidates = self.candidates();
            if !candidates.is_empty() && candidates.iter().all(|worker| self.full.contains(&worker.id)) {
                let said = error.filter(|error| error.code == Code::NoSpace);
                return Err(said.unwrap_or_else(|| {
                    Error::new(Code::NoSpace, "no worker has room for more unpersisted data")
                        .hint("free or persist files, or add a worker")
                }));
            }
            for worker in candidates {
                if self.full.contains(&worker.id) {
                    continue;
                }
                match self.connect_to(&worker).await {
                    Ok(()) => return Ok(()),
                    Err(refused) if definite(refused.code) => return Err(refused),
                    Err(refused) => {
                        tracing::debug!(worker = %worker.rpc(), error = %refused, "a worker did not take a write stream");
                        self.note(&worker, &refused);
                        error = Some(refused);
                    }
                }
            }
            if begun.elapsed() >= self.shared.patience {
                return Err(error.unwrap_or_else(|| self.shared.router.nobody()));
            }
            let reason = error.clone().unwrap_or_else(|| self.shared.router.nobody());
            let told = self.shared.router.waits().begin(begun, reason);
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            // An old list is better than none: the next round uses it.
            let _ = tokio::time::timeout(pause, self.shared.router.refresh()).await;
            drop(told);
        }
    }

    /// The stream broke; an error that no other worker would not give ends the writer.
    fn gave_up_on_stream(&mut self, error: &Error) -> Result<()> {
        let stream = self.stream.take();
        if definite(error.code) {
            return Err(error.clone());
        }
        if let Some(stream) = stream {
            tracing::debug!(worker = %stream.worker.rpc(), content = %self.content, %error, "a write stream broke");
            self.shared.metrics.write_fallbacks.inc();
            self.note(&stream.worker, error);
        }
        Ok(())
    }

    /// A worker without room is asked no more by this writer; one that fails otherwise is asked last by everyone.
    fn note(&mut self, worker: &Worker, error: &Error) {
        if error.code == Code::NoSpace {
            self.full.insert(worker.id);
        } else {
            self.shared.router.failed(worker.id);
        }
    }

    /// Who may take the stream: within a block whose beginning is committed, only the worker that has it.
    fn candidates(&self) -> Vec<Worker> {
        let committed = self.window.committed();
        let takers = self.shared.router.takers(self.content.block(committed / self.block_size));
        match self.holder {
            Some(holder) if !committed.is_multiple_of(self.block_size) => {
                self.shared.router.worker(holder).into_iter().collect()
            }
            _ => takers,
        }
    }

    async fn connect_to(&mut self, worker: &Worker) -> Result<()> {
        let timeout = self.shared.timeout;
        let channel = self.shared.channels.to(worker).await?;
        let request = WriteContentRequest {
            content: self.content.0,
            offset: self.window.committed(),
            block_size: self.block_size,
            generation: self.generation,
        };
        let mut duplex = within(worker, timeout, channel.open(method::WRITE_CONTENT, &request)).await?;
        for piece in self.window.resend() {
            within(worker, timeout, duplex.send(piece)).await?;
        }
        self.shared.router.answered(worker.id);
        self.stream = Some(Stream { worker: worker.clone(), duplex });
        Ok(())
    }
}

/// Whether every worker would answer so.
fn definite(code: Code) -> bool {
    match code {
        Code::Stale | Code::NotFound | Code::PermissionDenied | Code::ReadOnly | Code::InvalidArgument => {
            true
        }
        Code::Corrupt | Code::Unimplemented | Code::WrongCluster | Code::Lost => true,
        Code::AlreadyExists
        | Code::NotDirectory
        | Code::IsDirectory
        | Code::NotEmpty
        | Code::InvalidPath
        | Code::NameTooLong
        | Code::Unauthenticated
        | Code::NoSpace
        | Code::Incomplete
        | Code::NotLeader
        | Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Ufs
        | Code::Busy
        | Code::CrossMount
        | Code::Io
        | Code::Internal => false,
    }
}

async fn within<T>(worker: &Worker, limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let silent = format!("worker {} was silent for {limit:?}", worker.rpc());
        Err(Error::new(Code::DeadlineExceeded, silent))
    })
}
