//! One preload: counting, loading, reporting, its end.

use super::pace::Pace;
use super::place::Place;
use super::walk::{Met, Walk};
use crate::journal::Op;
use crate::master::Master;
use crate::mounts::Freshness;
use crate::workers::Worker;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use goosefs_core::id::{ContentId, WorkerId};
use goosefs_core::path::NsPath;
use goosefs_core::proto::internal::{
    Attr, Caller, FillContentRequest, FillContentResponse, Persistence, Preload, PreloadFailure,
    PreloadOptions, PreloadPlaced, PreloadProgress, PreloadState,
};
use goosefs_core::proto::journal::{AdvancePreload, entry::Command};
use goosefs_core::proto::method;
use goosefs_core::{Code, Error, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Files at a time, when nobody says.
const ACTIVE: usize = 32;

/// Between two reports, and between two looks at whether it is still wanted.
const REPORT: Duration = Duration::from_secs(1);

/// Files that are counted between two looks.
const COUNTED_AT_A_TIME: u64 = 10_000;

/// So often all workers are tried for a file, and the first pause between two rounds; doubled after each.
const ROUNDS: u32 = 4;
const PAUSE: Duration = Duration::from_secs(1);

/// A worker may take so long for a file, and a second more for so many bytes of it.
const PATIENCE: Duration = Duration::from_secs(60);
const SLOWEST: u64 = 1 << 20;

/// Failures in one report.
const FAILURES_AT_A_TIME: usize = 1000;

/// Carries out preload `id` from where it stands to its end.
///
/// # Errors
/// What kept this master from going on: the preload still runs, and is taken up again, here or by the next leader.
pub(super) async fn carry_out(master: &Arc<Master>, id: u64) -> Result<()> {
    let preload = master.journal.read()?.preload(id)?;
    let path = NsPath::parse(&preload.path)?;
    let mut run = Run::of(master.clone(), &preload);
    let found = match master.finder.existing(&path, run.freshness, true).await {
        Ok(found) => found,
        Err(error) if error.code.retryable() || error.code == Code::NotLeader => return Err(error),
        Err(error) => return run.end(PreloadState::Failed, &error.to_string()).await,
    };
    let (path, root) = (found.path, found.resolved.attr);
    if !run.tally.counted && !run.count(&path, &root).await? {
        return Ok(());
    }
    if !run.load(path, root).await? {
        return Ok(());
    }
    let state = if run.tally.failed == 0 { PreloadState::Succeeded } else { PreloadState::Failed };
    run.end(state, "").await
}

struct Run {
    id: u64,
    loader: Arc<Loader>,
    active: usize,
    /// Of what storages are said to have.
    freshness: Freshness,
    /// [`goosefs_core::clock::Clock::now_ms`] by which it must be done.
    until_ms: Option<u64>,
    tally: PreloadProgress,
    /// Not reported yet.
    failures: Vec<PreloadFailure>,
    /// Those before them.
    reported_failures: u64,
    looked: Instant,
}

impl Run {
    fn of(master: Arc<Master>, preload: &Preload) -> Run {
        let options: PreloadOptions = preload.options.unwrap_or_default();
        let tally = preload.progress.clone().unwrap_or_default();
        let active = if options.active == 0 { ACTIVE } else { options.active as usize };
        Run {
            id: preload.id,
            active,
            until_ms: (options.within_ms > 0).then(|| preload.begun_ms.saturating_add(options.within_ms)),
            reported_failures: tally.failed,
            freshness: if options.fresh { Freshness::Within(Duration::ZERO) } else { master.freshness() },
            loader: Arc::new(Loader {
                place: Place::new(master.workers.clone(), options.beyond_capacity, &tally.placed),
                pace: Pace::new(options.bandwidth),
                replication: options.replication.max(1) as usize,
                master,
            }),
            tally,
            failures: Vec::new(),
            looked: Instant::now(),
        }
    }

    /// Walks the tree once, so that people see how much there is. False when it ended meanwhile.
    async fn count(&mut self, path: &NsPath, root: &Attr) -> Result<bool> {
        let mut walk = Walk::new(self.loader.master.clone(), self.freshness, path.clone(), root.clone(), "");
        let (mut files, mut bytes) = (0, 0);
        while let Some(met) = walk.next().await? {
            if let Met::File { attr, .. } = met {
                files += 1;
                bytes += attr.length;
            }
            if files % COUNTED_AT_A_TIME == 0 && !self.goes_on().await? {
                return Ok(false);
            }
        }
        (self.tally.counted, self.tally.files, self.tally.bytes) = (true, files, bytes);
        self.report().await?;
        Ok(true)
    }

    /// Loads file after file, several at a time; what they came to is noted in their order. False when it ended meanwhile.
    async fn load(&mut self, path: NsPath, root: Attr) -> Result<bool> {
        let walk = Walk::new(self.loader.master.clone(), self.freshness, path, root, &self.tally.cursor);
        let mut outcomes = outcomes(walk, self.loader.clone(), self.active);
        loop {
            let next = tokio::time::timeout_at(self.looked + REPORT, outcomes.next()).await;
            match next {
                Ok(Some(outcome)) => self.note(outcome?),
                Ok(None) => return Ok(true),
                Err(_) => {}
            }
            if self.looked.elapsed() >= REPORT || self.failures.len() >= FAILURES_AT_A_TIME {
                if !self.goes_on().await? {
                    return Ok(false);
                }
                self.report().await?;
            }
        }
    }

    fn note(&mut self, outcome: Outcome) {
        let Outcome { path, length, loaded } = outcome;
        match loaded {
            Ok(loaded) => {
                self.tally.loaded += 1;
                self.tally.loaded_bytes += length;
                self.tally.cached_before += u64::from(loaded.cached_before);
                self.tally.filled_bytes += loaded.filled;
                for worker in loaded.workers {
                    self.placed(worker, length);
                }
            }
            Err(error) => {
                self.tally.failed += 1;
                let reason = error.to_string();
                self.failures.push(PreloadFailure { path: path.as_str().to_owned(), reason });
            }
        }
        path.as_str().clone_into(&mut self.tally.cursor);
    }

    fn placed(&mut self, worker: WorkerId, bytes: u64) {
        let placed = &mut self.tally.placed;
        match placed.binary_search_by_key(&worker.0, |one| one.worker) {
            Ok(at) => placed[at].bytes += bytes,
            Err(at) => placed.insert(at, PreloadPlaced { worker: worker.0, bytes }),
        }
    }

    /// Whether it is still wanted; ends it when its time is up.
    async fn goes_on(&mut self) -> Result<bool> {
        self.looked = Instant::now();
        let master = self.loader.master.clone();
        if master.journal.read()?.preload(self.id)?.state() != PreloadState::Running {
            return Ok(false);
        }
        if self.until_ms.is_some_and(|until| master.clock.now_ms() > until) {
            self.end(PreloadState::Failed, "it took longer than it was given (--expire-time)").await?;
            return Ok(false);
        }
        Ok(true)
    }

    async fn report(&mut self) -> Result<()> {
        let nobody = self.loader.place.is_nowhere();
        let reason =
            if nobody { "no worker is there: start one; files are tried again for a while" } else { "" };
        self.advance(PreloadState::Running, reason).await
    }

    async fn end(&mut self, state: PreloadState, reason: &str) -> Result<()> {
        self.advance(state, reason).await?;
        let (loaded, failed, bytes) = (self.tally.loaded, self.tally.failed, self.tally.filled_bytes);
        tracing::info!(
            job = self.id,
            loaded,
            failed,
            bytes,
            state = state.as_str_name(),
            "a preload has ended"
        );
        Ok(())
    }

    async fn advance(&mut self, state: PreloadState, reason: &str) -> Result<()> {
        let failures = std::mem::take(&mut self.failures);
        let count = failures.len() as u64;
        let command = Command::AdvancePreload(AdvancePreload {
            preload: self.id,
            progress: Some(self.tally.clone()),
            failures,
            failures_from: self.reported_failures,
            state: state.into(),
            reason: reason.to_owned(),
        });
        self.loader.master.journal.propose(command, &Caller::default(), Op::Unnumbered).await?;
        self.reported_failures += count;
        Ok(())
    }
}

/// What came of one file.
struct Outcome {
    path: NsPath,
    length: u64,
    loaded: Result<Loaded>,
}

/// A file that is cached now.
#[derive(Default)]
struct Loaded {
    cached_before: bool,
    /// Bytes that came from the storage.
    filled: u64,
    workers: Vec<WorkerId>,
}

/// What comes of the files of a walk, in its order.
fn outcomes(walk: Walk, loader: Arc<Loader>, active: usize) -> BoxStream<'static, Result<Outcome>> {
    let met = stream::try_unfold(walk, async |mut walk| {
        let met = walk.next().await?;
        Ok(met.map(|met| (met, walk)))
    });
    let outcome = move |met: Result<Met>| {
        let loader = loader.clone();
        async move {
            Ok(match met? {
                Met::File { path, attr } => {
                    let loaded = loader.file(&path, &attr).await;
                    Outcome { path, length: attr.length, loaded }
                }
                Met::Closed { path, error } => Outcome { path, length: 0, loaded: Err(error) },
            })
        }
    };
    met.map(outcome).buffered(active).boxed()
}

/// Has workers cache files.
struct Loader {
    master: Arc<Master>,
    place: Place,
    pace: Pace,
    replication: usize,
}

impl Loader {
    async fn file(&self, path: &NsPath, attr: &Attr) -> Result<Loaded> {
        match self.version(attr).await {
            // Another version is in the storage by now: that one is loaded.
            Err(error) if error.code == Code::Stale => {
                let strictly = Freshness::Within(Duration::ZERO);
                let found = self.master.finder.existing(path, strictly, false).await?;
                self.version(&found.resolved.attr).await
            }
            outcome => outcome,
        }
    }

    async fn version(&self, attr: &Attr) -> Result<Loaded> {
        if !attr.completed {
            return Err(Error::new(Code::Incomplete, "it is still being written"));
        }
        if attr.persistence() == Persistence::Lost {
            return Err(Error::new(Code::Lost, "its only copy was lost with a worker"));
        }
        if attr.length == 0 || attr.persistence() != Persistence::Persisted {
            // Workers alone have it.
            return Ok(Loaded { cached_before: true, ..Loaded::default() });
        }
        self.pace.pass(attr.length).await;
        let mut loaded = Loaded { cached_before: true, ..Loaded::default() };
        let mut pause = PAUSE;
        for _ in 1..ROUNDS {
            match self.round(attr, &mut loaded).await {
                Err(error) if error.code.retryable() => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                outcome => return outcome.map(|()| loaded),
            }
        }
        self.round(attr, &mut loaded).await.map(|()| loaded)
    }

    /// Asks each worker once, until enough of them have the file.
    async fn round(&self, attr: &Attr, loaded: &mut Loaded) -> Result<()> {
        let content = ContentId(attr.content);
        let candidates = self.place.candidates(content);
        // One at least, so that no worker at all is trouble, too.
        let wanted = self.replication.min(candidates.len()).max(1);
        let mut trouble = Error::new(Code::Unavailable, "no worker is there")
            .hint("start one; it is tried again meanwhile");
        for worker in candidates {
            if loaded.workers.len() >= wanted {
                break;
            }
            if loaded.workers.contains(&worker.id) {
                continue;
            }
            match self.ask(&worker, content, attr.length).await {
                Ok(answer) => {
                    loaded.cached_before &= answer.was_cached;
                    loaded.filled += answer.filled;
                    loaded.workers.push(worker.id);
                }
                Err(error) if error.code.retryable() || error.code == Code::NoSpace => trouble = error,
                Err(error) => return Err(error),
            }
        }
        if loaded.workers.len() >= wanted { Ok(()) } else { Err(trouble) }
    }

    async fn ask(&self, worker: &Worker, content: ContentId, length: u64) -> Result<FillContentResponse> {
        if !self.place.reserve(worker, length) {
            let text =
                format!("worker {} has no room for it beside what was loaded before", worker.address.host);
            return Err(Error::new(Code::NoSpace, text)
                .hint("add workers or room, or go on at the cost of what was cached before by --ignoreCap"));
        }
        let request = FillContentRequest { content: content.0 };
        let patience = PATIENCE + Duration::from_secs(length / SLOWEST);
        let answer = self.master.channels.call(worker, method::FILL_CONTENT, &request, patience).await;
        if answer.is_err() {
            self.place.give_back(worker.id, length);
        }
        answer
    }
}
