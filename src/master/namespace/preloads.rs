//! Preloads: trees that workers are to cache, and how far each has come.
//!
//! Only what must survive a change of leader is here. `master/preload` does the work and reports totals, so that a report
//! which is made twice counts once.

use super::Namespace;
use super::step::{Step, invalid, not_found};
use goosefs_core::error::{Code, Error, Result};
use goosefs_core::path::NsPath;
use goosefs_core::proto::internal::{Preload, PreloadProgress, PreloadState};
use goosefs_core::proto::journal::{AdvancePreload, SubmitPreload};
use std::sync::Arc;

/// Preloads that have ended and are still known.
const ENDED_KEPT: usize = 100;

/// Failures of one preload that are kept by name.
pub(crate) const FAILURES_KEPT: usize = 10_000;

impl Namespace {
    /// Every preload that is known, by id.
    pub fn preloads(&self) -> impl DoubleEndedIterator<Item = &Arc<Preload>> {
        self.preloads.values()
    }

    /// One preload.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn preload(&self, id: u64) -> Result<Arc<Preload>> {
        let known = self.preloads.get(&id).cloned();
        known.ok_or_else(|| {
            not_found(format_args!("job {id}")).hint("`goosefs job ls` shows those that are known")
        })
    }

    /// The one that its submitter calls `key`; nothing is called "".
    pub fn preload_of_key(&self, key: &str) -> Option<&Arc<Preload>> {
        self.preloads.values().find(|one| !key.is_empty() && one.key == key)
    }

    pub(super) fn submit_preload(&mut self, step: &mut Step, command: &SubmitPreload) -> Result<()> {
        if let Some(known) = self.preload_of_key(&command.key) {
            step.applied.preload = known.id;
            return Ok(());
        }
        let path = NsPath::parse(&command.path)?;
        let same = |preload: &&Arc<Preload>| preload.path == path.as_str() && runs(preload);
        if let Some(running) = self.preloads.values().find(same) {
            let text = format!("job {} loads {path} already", running.id);
            return Err(Error::new(Code::AlreadyExists, text).hint(format!(
                "see `goosefs job stat {}`, or end it by `goosefs job cancel {0}`",
                running.id
            )));
        }
        let preload = Preload {
            id: step.index,
            path: path.as_str().to_owned(),
            options: Some(command.options.unwrap_or_default()),
            progress: Some(PreloadProgress::default()),
            begun_ms: step.now_ms,
            user: step.user().to_owned(),
            key: command.key.clone(),
            ..Preload::default()
        };
        self.preloads.insert(preload.id, Arc::new(preload));
        self.forget_ended();
        step.applied.preload = step.index;
        Ok(())
    }

    pub(super) fn advance_preload(&mut self, step: &mut Step, command: &AdvancePreload) -> Result<()> {
        self.preload(command.preload)?;
        let Some(known) = self.preloads.get_mut(&command.preload) else { return Ok(()) };
        if !runs(known) {
            return Err(invalid(format!("job {} has ended", command.preload)));
        }
        let preload = Arc::make_mut(known);
        if let Some(progress) = &command.progress {
            preload.progress = Some(progress.clone());
        }
        let from = usize::try_from(command.failures_from).unwrap_or(usize::MAX);
        preload.failures.truncate(from);
        let room = FAILURES_KEPT - preload.failures.len().min(FAILURES_KEPT);
        preload.failures.extend(command.failures.iter().take(room).cloned());
        preload.state = command.state;
        preload.reason.clone_from(&command.reason);
        if !runs(preload) {
            preload.ended_ms = step.now_ms;
        }
        Ok(())
    }

    fn forget_ended(&mut self) {
        let ended: Vec<u64> = self.preloads.values().filter(|one| !runs(one)).map(|one| one.id).collect();
        for id in ended.iter().take(ended.len().saturating_sub(ENDED_KEPT)) {
            self.preloads.remove(id);
        }
    }
}

fn runs(preload: &Preload) -> bool {
    preload.state() == PreloadState::Running
}
