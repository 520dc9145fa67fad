//! Effects on the under-storage that are under way: announced, held, finished.
//!
//! An intent holds inodes (with all that is below them) and names that it is about to make. Conflicting commands answer
//! `Busy` meanwhile, so when it ends, the command that began it finds what it found before and is simply run again,
//! this time without announcing anything.

use super::Namespace;
use super::name::Name;
use super::step::{Step, not_found};
use goosefs_core::error::{Code, Error, Result};
use goosefs_core::id::{InodeId, IntentId};
use goosefs_core::proto::journal::intent::Effect;
use goosefs_core::proto::journal::{Applied, Entry, FinishIntent, Intent};
use std::sync::Arc;

/// A running intent and what it holds.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) intent: Intent,
    pub(super) inodes: Vec<InodeId>,
    pub(super) names: Vec<(InodeId, String)>,
}

impl Namespace {
    /// The step's command waits for an effect on the under-storage; its answer is the intent's number.
    pub(super) fn announce(
        &mut self,
        step: &mut Step,
        effect: Effect,
        inodes: Vec<InodeId>,
        names: Vec<(InodeId, String)>,
    ) {
        let intent = Intent { id: step.index, effect: Some(effect), entry: Some(step.entry.clone()) };
        self.hold(Running { intent, inodes, names });
        step.applied.intent = step.index;
    }

    pub(super) fn hold(&mut self, running: Running) {
        let id = IntentId(running.intent.id);
        self.held_inodes.extend(running.inodes.iter().map(|inode| (*inode, id)));
        self.held_names.extend(running.names.iter().map(|(parent, name)| ((*parent, Name::new(name)), id)));
        self.intents.insert(id, Arc::new(running));
    }

    fn release(&mut self, id: IntentId) -> Option<Arc<Running>> {
        let running = self.intents.remove(&id)?;
        for inode in &running.inodes {
            self.held_inodes.remove(inode);
        }
        for (parent, name) in &running.names {
            self.held_names.remove(&(*parent, Name::new(name)));
        }
        Some(running)
    }

    /// The intent that holds the inode or something above it.
    pub(super) fn holder(&self, id: InodeId) -> Option<IntentId> {
        if self.held_inodes.is_empty() {
            return None;
        }
        let mut at = id;
        loop {
            if let Some(intent) = self.held_inodes.get(&at) {
                return Some(*intent);
            }
            if at == InodeId::ROOT {
                return None;
            }
            at = self.inodes.get(at)?.parent;
        }
    }

    /// An intent that holds something at or below the inode, or is about to make an entry there.
    pub(super) fn held_below(&self, id: InodeId) -> Option<IntentId> {
        let inodes = self.held_inodes.iter().map(|(held, intent)| (*held, *intent));
        let names = self.held_names.iter().map(|((parent, _), intent)| (*parent, *intent));
        inodes.chain(names).find(|(held, _)| self.lies_in(*held, id)).map(|(_, intent)| intent)
    }

    pub(super) fn finish_intent(&mut self, step: &mut Step, command: &FinishIntent) -> Result<()> {
        let id = IntentId(command.intent);
        let Some(running) = self.intents.get(&id) else {
            return Err(not_found(format_args!("running operation {id}"))
                .hint("it was finished before; a retry of its command gets the answer"));
        };
        let running = Arc::clone(running);
        let entry = running.intent.entry.clone().unwrap_or_default();
        self.release(id);
        let result = match &command.error {
            Some(error) => {
                self.roll_back(step, &running.intent);
                Err(Error::from_wire(error.clone()))
            }
            None => self.carry_through(step, &entry, &running.intent, command),
        };
        let applied = match result {
            Ok(()) => step.applied.clone(),
            Err(error) => Applied { error: Some(error.to_wire()), ..Default::default() },
        };
        self.answers.settle(&entry, &applied, &mut self.vendor_places);
        step.applied = applied;
        Ok(())
    }

    /// The effect was carried out: does the rest of the command that announced it, in its caller's name.
    fn carry_through(
        &mut self,
        step: &mut Step,
        entry: &Entry,
        intent: &Intent,
        finish: &FinishIntent,
    ) -> Result<()> {
        let mut rest = Step::new(step.index, step.now_ms, entry);
        rest.effect_done = true;
        let result = match &intent.effect {
            Some(Effect::Persist(effect)) => {
                self.finish_persist(&mut rest, effect, finish.persisted.as_ref())
            }
            Some(Effect::Remove(_) | Effect::Rename(_) | Effect::MakeDirectory(_)) => {
                self.run(&mut rest, entry)
            }
            None => Err(Error::new(Code::Internal, format!("operation {} has no effect", intent.id))),
        };
        step.applied = rest.applied;
        step.changes.append(&mut rest.changes);
        result
    }

    /// The effect failed: only a persist has left a mark of having begun.
    fn roll_back(&mut self, step: &mut Step, intent: &Intent) {
        match &intent.effect {
            Some(Effect::Persist(effect)) => self.abandon_persist(step, effect),
            Some(Effect::Remove(_) | Effect::Rename(_) | Effect::MakeDirectory(_)) | None => {}
        }
    }
}
