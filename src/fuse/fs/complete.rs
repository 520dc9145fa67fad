//! The end of writing: completing a file, or giving up what cannot be completed.
//!
//! A writer that cannot go on gives up what nobody was told to be safe: the file is empty then, and nothing of it stays in
//! the cache. What a flush or fsync said to be safe stays.

use super::write::{Phase, State, Writing, detached};
use super::{Fs, Who, node};
use goosefs_core::proto::internal::Attr;
use goosefs_core::{Code, Error, Result};
use std::sync::Arc;
use std::time::Duration;

/// Pause before a file that could not be completed is tried again.
const AGAIN: Duration = Duration::from_secs(2);

impl Fs {
    /// One writer is gone; the last one completes the file.
    pub(super) async fn close_writer(self: &Arc<Fs>, writing: Arc<Writing>, who: Who) -> Result<()> {
        let last = {
            let _all = self.writing.lock();
            let mut writers = writing.writers.lock();
            *writers = writers.saturating_sub(1);
            *writers == 0
        };
        if !last {
            return Ok(());
        }
        let fs = self.clone();
        detached(&self.tasks, "complete", async move { fs.complete(&writing, who).await }).await
    }

    /// Completes a file, trying again while the cluster cannot be asked: its bytes were acknowledged by flush.
    async fn complete(&self, writing: &Writing, who: Who) -> Result<()> {
        let begun = self.clock.monotonic();
        let mut told = false;
        let outcome = loop {
            let outcome = {
                let mut state = writing.state.lock().await;
                // Somebody may have opened it for writing again meanwhile: that one completes it.
                if *writing.writers.lock() > 0 {
                    return Ok(());
                }
                self.complete_state(writing, &mut state, who).await
            };
            let spent = self.clock.monotonic().saturating_sub(begun);
            match outcome {
                Err(error) if error.code.retryable() && spent < self.config.data_deadline => {
                    if !told {
                        tracing::warn!(content = %writing.content, %error, "cannot complete a file yet");
                        told = true;
                    }
                    let stop = self.tasks.stop();
                    if tokio::time::timeout(AGAIN, stop.cancelled()).await.is_ok() {
                        break Err(error);
                    }
                }
                outcome => break outcome,
            }
        };
        self.report_completion(writing, &outcome);
        let mut all = self.writing.lock();
        if *writing.writers.lock() == 0 {
            all.remove(&writing.content);
        }
        drop(all);
        writing.done.send_replace(true);
        outcome
    }

    fn report_completion(&self, writing: &Writing, outcome: &Result<()>) {
        match outcome {
            Ok(()) => {}
            Err(error) if error.code == Code::NotFound => {
                tracing::debug!(content = %writing.content, "removed or replaced before it was complete");
            }
            Err(error) => tracing::error!(content = %writing.content, %error, "the file stays incomplete"),
        }
    }

    async fn complete_state(&self, writing: &Writing, state: &mut State, who: Who) -> Result<()> {
        if matches!(state.phase, Phase::Existing | Phase::Nameless(_)) {
            return Ok(());
        }
        if let Phase::Failed(_) = &state.phase {
            let caller = self.caller(who).await;
            let ended = self.bounded("complete", self.backend.finish(caller, writing.content, state.synced));
            return self.completed(writing, state, ended.await);
        }
        let (sink, length) = state.take_sink()?;
        let mut sink = self.opened_sink(sink, state, who).await?;
        let outcome = sink.complete().await;
        if let Err(error) = &outcome {
            if for_good(error.code) {
                drop(sink);
                self.give_up(writing, state, who, error).await;
                state.fail(error.clone());
            } else {
                state.phase = Phase::Open { sink: Some(sink), length, uncommitted: true };
            }
        }
        self.completed(writing, state, outcome)
    }

    fn completed(&self, writing: &Writing, state: &mut State, outcome: Result<Attr>) -> Result<()> {
        match outcome {
            Ok(attr) => {
                self.remember(&attr);
                *writing.shown.lock() = None;
                *state = State { attr, phase: Phase::Existing, synced: 0 };
                Ok(())
            }
            Err(error) => {
                self.forget_attr(writing.content.0);
                Err(error)
            }
        }
    }

    /// A writer cannot go on. What nobody was told to be safe must not stay in the cache, where it could never go.
    pub(super) async fn give_up(&self, writing: &Writing, state: &mut State, who: Who, error: &Error) {
        let content = writing.content;
        // Somebody else cut or removed it: what is there now is theirs.
        if state.synced > 0 || matches!(error.code, Code::Stale | Code::NotFound) {
            return;
        }
        let caller = self.caller(who).await;
        match self.bounded("truncate", self.backend.truncate(caller, content)).await {
            Ok(attr) => {
                tracing::warn!(%content, %error, "a file cannot be written on: it is cut to nothing");
                self.content_changed(node::of(&attr));
                *writing.shown.lock() = Some((0, attr.mtime_ms));
                state.attr = attr;
            }
            Err(reason) => {
                tracing::warn!(%content, %error, %reason, "what was written of a file stays in the cache")
            }
        }
    }
}

/// Whether a file that could not be completed like this never will be. Where the storage or the masters do not answer, what
/// is in the cache may be of use yet.
fn for_good(code: Code) -> bool {
    !code.retryable()
        && !matches!(
            code,
            Code::Ufs | Code::Io | Code::Internal | Code::Cancelled | Code::Incomplete | Code::Lost
        )
}
