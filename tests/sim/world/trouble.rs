//! What goes wrong, how it ends, and the calm after it.

use super::{PATIENCE, TROUBLE, World};
use crate::disk::Loss;
use crate::faults::{End, Fault, Spoil, draw};
use crate::kernel;
use crate::network::Weather;
use rand::Rng;
use std::path::{Path, PathBuf};

impl World {
    /// Lets things go wrong.
    pub(super) fn trouble(&mut self) {
        let until = self.now + self.dice.random_range(TROUBLE / 4..=TROUBLE);
        let pace = self.dice.random_range(300..2500);
        let mut next = self.now;
        while self.now < until {
            self.tick(true);
            if self.now >= next {
                let leader = self.leader();
                for (fault, time, end) in draw(&mut self.dice, self.masters, leader) {
                    self.note(&format!("{fault:?} for {time} ms"));
                    self.ends.extend(end.map(|end| (self.now + time, end)));
                    self.begin(fault);
                }
                next = self.now + self.dice.random_range(10..=pace);
            }
        }
    }

    fn begin(&mut self, fault: Fault) {
        match fault {
            Fault::Crash { master, calls, loss } => {
                if self.processes[master].is_none() {
                    return;
                }
                self.loss[master] = loss;
                match calls {
                    Some(calls) => kernel::disk(|disk| disk.crash_in(master, calls)),
                    None => self.crash(master),
                }
            }
            Fault::Spoil { master, how } => {
                if self.spoils > 0 || self.processes[master].is_none() {
                    return;
                }
                self.spoils += 1;
                self.loss[master] = Loss::Nothing;
                self.spoil = Some((master, how));
                self.crash(master);
            }
            Fault::Pause(master) => self.paused[master] = self.processes[master].is_some(),
            Fault::Cut(ways) => ways.into_iter().for_each(|(from, to)| self.network.cut(from, to, true)),
            Fault::Weather(weather) => self.network.set_weather(weather),
            Fault::SlowDisk(master, time) => {
                if let Some(process) = &mut self.processes[master] {
                    process.disk = time;
                }
            }
            Fault::HandOver => {
                let Some(leader) = self.leader() else { return };
                let process = self.processes[leader].as_ref().unwrap();
                let node = process.node.clone().unwrap();
                process.handle().spawn(async move { drop(node.transfer_leadership().await) });
            }
        }
    }

    pub(super) fn end(&mut self, end: End) {
        self.note(&format!("{end:?}"));
        match end {
            End::Start(master) => self.start(master),
            End::Resume(master) => {
                self.paused[master] = false;
                // Who asks at once finds it as it was when it was stopped.
                self.set_clock(master);
                self.read(master);
                for message in std::mem::take(&mut self.held[master]) {
                    self.hand_over(message);
                }
            }
            End::Mend(ways) => ways.into_iter().for_each(|(from, to)| self.network.cut(from, to, false)),
            End::Calm => self.network.set_weather(Weather::calm()),
            End::FastDisk(master) => {
                if let Some(process) = &mut self.processes[master] {
                    process.disk = (0, 3);
                }
            }
        }
    }

    /// Ends all trouble; then everything must come together.
    pub(super) fn heal(&mut self) {
        self.note("all is well again");
        self.ends.clear();
        self.network.mend();
        self.end(End::Calm);
        for master in 0..self.masters {
            self.end(End::Resume(master));
            self.end(End::FastDisk(master));
            self.start(master);
        }
        let until = self.now + PATIENCE;
        let busy = self.now + 1000;
        while self.now < busy || !self.agree() {
            if self.now >= until {
                self.fail(&format!("no progress, or no agreement: {}", self.standing()));
            }
            self.tick(self.now < busy);
            // A crash that was under way.
            for master in 0..self.masters {
                self.start(master);
            }
        }
        self.compare();
    }
}

pub(super) fn spoil(folder: &Path, how: Spoil) {
    match how {
        Spoil::Wipe => std::fs::remove_dir_all(folder).unwrap(),
        Spoil::Cut(bytes) => {
            let logs = find(folder, &|path| path.extension().is_some_and(|extension| extension == "raftlog"));
            let Some(newest) = logs.into_iter().max() else { return };
            let written = std::fs::read(&newest).unwrap();
            // Room was made for more than was written.
            let end = written.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
            let file = std::fs::File::options().write(true).open(newest).unwrap();
            file.set_len(end.saturating_sub(bytes)).unwrap();
        }
    }
}

fn find(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(find(&path, wanted));
        } else if wanted(&path) {
            found.push(path);
        }
    }
    found
}
