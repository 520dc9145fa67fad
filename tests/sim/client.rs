//! A client with a directory of its own and a model of what must be in it.
//!
//! It does one thing at a time, as our clients do: numbered within a session, again and again under the same number,
//! here and there, until it is acknowledged. So what a reader may see of the directory is the model, or the model after
//! the one operation that is under way; and no operation may ever fail, or take effect twice.

use crate::kernel;
use crate::process::Process;
use goosefs_core::id::InodeId;
use goosefs_core::proto::internal::{Caller, SessionOp, WriteType};
use goosefs_core::proto::journal::entry::Command;
use goosefs_core::proto::journal::{
    Applied, CreateFile, MakeDirectory, OpenSession, Remove, Rename, SetAttributes,
};
use goosefs_core::{Code, Result};
use goosefs_master::journal::Op;
use goosefs_master::namespace::Namespace;
use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Milliseconds after which a client asks elsewhere, at least and at most.
const PATIENCE: (u64, u64) = (200, 1500);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Deed {
    Open,
    Settle,
    Create(String),
    Remove(String),
    Rename(String, String),
    Mark(String, u32),
}

/// A file as its client knows it. An inode of 0 is one that was not told yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Known {
    inode: u64,
    mode: u32,
}

type Model = BTreeMap<String, Known>;
type Told = Arc<Mutex<Option<Result<(Applied, u64)>>>>;

struct Asked {
    told: Told,
    /// Until when an answer is waited for.
    until: u64,
}

pub(crate) struct Client {
    pub(crate) number: usize,
    session: u64,
    sequence: u64,
    home: Option<u64>,
    model: Model,
    deed: Option<Deed>,
    asked: Option<Asked>,
    /// Whom it asks next.
    at: usize,
    /// Not before then.
    not_before: u64,
    pub(crate) acknowledged: u64,
    pub(crate) retries: u64,
}

impl Client {
    pub(crate) fn new(number: usize) -> Client {
        Client {
            number,
            session: 1000 + number as u64,
            sequence: 0,
            home: None,
            model: Model::new(),
            deed: Some(Deed::Open),
            asked: None,
            at: 0,
            not_before: 0,
            acknowledged: 0,
            retries: 0,
        }
    }

    /// Whether nothing is under way.
    pub(crate) fn idle(&self) -> bool {
        self.deed.is_none()
    }

    /// Takes an answer that has come, asks again, or begins something new if it may. What it was told, for the trace, and the
    /// index that the master which acknowledged had reached by then.
    pub(crate) fn turn(
        &mut self,
        now: u64,
        masters: &[Option<Process>],
        more: bool,
        dice: &mut StdRng,
    ) -> Option<(String, Option<u64>)> {
        let mut said = None;
        if let Some(asked) = &self.asked {
            let told = asked.told.lock().take();
            match told {
                Some(outcome) => {
                    let reached = outcome.as_ref().ok().map(|(_, index)| *index);
                    let outcome = outcome.map(|(applied, _)| applied);
                    let end = outcome
                        .as_ref()
                        .map_or_else(|error| format!("{:?}", error.code), |_| "done".to_owned());
                    said = Some((format!("client {}: {:?} {end}", self.number, self.deed), reached));
                    self.asked = None;
                    self.hear(outcome, now, masters.len(), dice);
                }
                None if now > asked.until => {
                    self.asked = None;
                    self.elsewhere(now, masters.len(), dice);
                }
                None => {}
            }
        }
        if self.deed.is_none() && more {
            self.deed = Some(self.think(dice));
            self.sequence += 1;
        }
        if self.deed.is_some() && self.asked.is_none() && now >= self.not_before {
            self.ask(now, masters, dice);
        }
        said
    }

    fn elsewhere(&mut self, now: u64, masters: usize, dice: &mut StdRng) {
        self.retries += 1;
        self.at = dice.random_range(0..masters);
        self.not_before = now + dice.random_range(1..40);
    }

    fn hear(&mut self, outcome: Result<Applied>, now: u64, masters: usize, dice: &mut StdRng) {
        match outcome {
            Ok(applied) => {
                let inode = applied.attr.as_ref().map_or(0, |attr| attr.inode);
                let deed = self.deed.take().unwrap();
                match &deed {
                    Deed::Settle => self.home = Some(inode),
                    deed => self.model = after(&self.model, deed, inode),
                }
                if deed == Deed::Open {
                    self.deed = Some(Deed::Settle);
                    self.sequence = 1;
                }
                self.acknowledged += 1;
            }
            Err(error) => match error.code {
                Code::NotLeader | Code::Unavailable | Code::DeadlineExceeded | Code::Busy => {
                    self.elsewhere(now, masters, dice);
                }
                _ => panic!(
                    "client {}: {:?} under number {} failed: {error:?}",
                    self.number, self.deed, self.sequence
                ),
            },
        }
    }

    fn think(&self, dice: &mut StdRng) -> Deed {
        let names: Vec<&String> = self.model.keys().collect();
        let some = |dice: &mut StdRng| names[dice.random_range(0..names.len())].clone();
        // Few names, so that a deed done twice would undo another.
        let free: Vec<String> =
            (0..6).map(|n| format!("file-{n}")).filter(|name| !self.model.contains_key(name)).collect();
        let new = |dice: &mut StdRng| free[dice.random_range(0..free.len())].clone();
        match dice.random_range(0..10) {
            _ if names.is_empty() => Deed::Create(new(dice)),
            0..=3 if !free.is_empty() => Deed::Create(new(dice)),
            4..=5 => Deed::Remove(some(dice)),
            6..=7 => {
                let (from, to) = (some(dice), format!("file-{}", dice.random_range(0..6)));
                Deed::Rename(from, to)
            }
            _ => Deed::Mark(some(dice), dice.random_range(0..0o1000)),
        }
    }

    fn ask(&mut self, now: u64, masters: &[Option<Process>], dice: &mut StdRng) {
        let Some(process) = &masters[self.at] else { return self.elsewhere(now, masters.len(), dice) };
        let Some(journal) = process.journal.clone() else { return self.elsewhere(now, masters.len(), dice) };
        let deed = self.deed.clone().unwrap();
        let (command, op) = (self.command(&deed), self.op(&deed));
        let told = Told::default();
        let until = now + dice.random_range(PATIENCE.0..PATIENCE.1);
        self.asked = Some(Asked { told: told.clone(), until });
        let at = self.at;
        process.handle().spawn(async move {
            let caller = Caller { user: "u".into(), group: "g".into() };
            let outcome = journal.propose(command, &caller, op).await;
            let outcome = outcome.map(|applied| (applied, journal.state().read().last_index()));
            if !kernel::disk(|disk| disk.is_dead(at)) {
                *told.lock() = Some(outcome);
            }
        });
    }

    fn op(&self, deed: &Deed) -> Op {
        let acknowledged = self.sequence.saturating_sub(1);
        match deed {
            Deed::Open => Op::Unnumbered,
            _ => Op::Session(SessionOp { session: self.session, sequence: self.sequence, acknowledged }),
        }
    }

    fn command(&self, deed: &Deed) -> Command {
        let parent = self.home.unwrap_or(0);
        match deed {
            Deed::Open => {
                Command::OpenSession(OpenSession { session: self.session, description: String::new() })
            }
            Deed::Settle => Command::MakeDirectory(MakeDirectory {
                parent: InodeId::ROOT.0,
                name: format!("client-{}", self.number),
                mode: 0o755,
                ..Default::default()
            }),
            Deed::Create(name) => Command::CreateFile(CreateFile {
                parent,
                name: name.clone(),
                mode: 0o644,
                block_size: 1 << 20,
                write_type: WriteType::MustCache.into(),
                ..Default::default()
            }),
            Deed::Remove(name) => {
                Command::Remove(Remove { parent, name: name.clone(), ..Default::default() })
            }
            Deed::Rename(from, to) => Command::Rename(Rename {
                parent,
                name: from.clone(),
                new_parent: parent,
                new_name: to.clone(),
                replace: true,
            }),
            Deed::Mark(name, mode) => Command::SetAttributes(SetAttributes {
                inode: self.model[name].inode,
                mode: Some(*mode),
                ..Default::default()
            }),
        }
    }

    /// Checks what a reader sees who begins now.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn check(&self, namespace: &Namespace) -> Result<(), String> {
        let Some(home) = self.home else { return Ok(()) };
        let (entries, _) = namespace.children(InodeId(home), "", usize::MAX).map_err(|error| {
            format!("client {}'s directory was acknowledged and is not there: {error}", self.number)
        })?;
        let seen: Model = entries
            .into_iter()
            .map(|entry| {
                let attr = entry.attr.unwrap();
                (entry.name, Known { inode: attr.inode, mode: attr.mode })
            })
            .collect();
        let then = self.deed.as_ref().map(|deed| after(&self.model, deed, 0));
        if same(&self.model, &seen) || then.as_ref().is_some_and(|then| same(then, &seen)) {
            return Ok(());
        }
        Err(format!(
            "client {} knows {:?}, {:?} is under way, but {seen:?} is there",
            self.number, self.model, self.deed
        ))
    }
}

fn after(model: &Model, deed: &Deed, inode: u64) -> Model {
    let mut model = model.clone();
    match deed {
        Deed::Open | Deed::Settle => {}
        Deed::Create(name) => drop(model.insert(name.clone(), Known { inode, mode: 0o644 })),
        Deed::Remove(name) => drop(model.remove(name)),
        Deed::Rename(from, to) => {
            let moved = model.remove(from).unwrap();
            model.insert(to.clone(), moved);
        }
        Deed::Mark(name, mode) => model.get_mut(name).unwrap().mode = *mode,
    }
    model
}

/// Whether `seen` is what `model` says, as far as that knows.
fn same(model: &Model, seen: &Model) -> bool {
    let alike = |known: &Known, seen: &Known| {
        known.mode == seen.mode && (known.inode == 0 || known.inode == seen.inode)
    };
    model.len() == seen.len()
        && model.iter().all(|(name, known)| seen.get(name).is_some_and(|seen| alike(known, seen)))
}
