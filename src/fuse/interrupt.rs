//! Requests whose process was told to end.
//!
//! fuser 0.18 answers FUSE_INTERRUPT with ENOSYS, after which the kernel never sends it again and a killed process hangs
//! until its request is answered. So we look for ourselves: a request that has taken a while is given up when the thread
//! that made it has a signal pending that would end it, or one by which a person interrupts (`/proc/<tid>/status`). Where
//! the process is in a PID namespace that we do not see, its requests end with their deadline.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Requests younger than this are left alone.
const AGE: Duration = Duration::from_millis(300);

/// How often to look.
pub(crate) const PERIOD: Duration = Duration::from_millis(200);

/// Which signals end a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signals {
    /// SIGKILL alone: the call has effects that a program must not take for undone.
    Fatal,
    /// Those by which a person or a supervisor interrupts, unless the process ignores or blocks them.
    Interrupting,
}

#[derive(Debug)]
struct Waiting {
    thread: u32,
    since: Instant,
    signals: Signals,
    give_up: CancellationToken,
}

/// Requests under way; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct InFlight {
    list: Arc<Mutex<List>>,
    ended: Arc<Notify>,
}

#[derive(Debug, Default)]
struct List {
    waiting: HashMap<u64, Waiting>,
    closed: bool,
}

/// One request; taken off the list when dropped.
#[derive(Debug)]
pub(crate) struct Watched {
    request: u64,
    give_up: CancellationToken,
    list: InFlight,
}

impl InFlight {
    /// Puts a request on the list; `None` once no more are begun.
    pub(crate) fn begin(&self, request: u64, thread: u32, signals: Signals) -> Option<Watched> {
        let give_up = CancellationToken::new();
        let entry = Waiting { thread, since: Instant::now(), signals, give_up: give_up.clone() };
        let mut list = self.list.lock();
        if list.closed {
            return None;
        }
        list.waiting.insert(request, entry);
        Some(Watched { request, give_up, list: self.clone() })
    }

    /// Lets no more begin, and returns when none is under way.
    pub(crate) async fn drained(&self) {
        self.list.lock().closed = true;
        loop {
            let ended = self.ended.notified();
            if self.list.lock().waiting.is_empty() {
                return;
            }
            ended.await;
        }
    }

    /// Looks at every request that has taken a while; returns how many were given up.
    pub(crate) fn look(&self) -> u64 {
        let old: Vec<(u64, u32, Signals)> = {
            let list = self.list.lock();
            let old = list.waiting.iter().filter(|(_, entry)| {
                entry.thread != 0 && entry.since.elapsed() >= AGE && !entry.give_up.is_cancelled()
            });
            old.map(|(request, entry)| (*request, entry.thread, entry.signals)).collect()
        };
        let mut given_up = 0;
        for (request, thread, signals) in old {
            let Ok(status) = std::fs::read_to_string(format!("/proc/{thread}/status")) else { continue };
            if ends(&status, signals)
                && let Some(entry) = self.list.lock().waiting.get(&request)
            {
                entry.give_up.cancel();
                given_up += 1;
            }
        }
        given_up
    }
}

impl Watched {
    /// Returns when the request is to be given up.
    pub(crate) async fn interrupted(&self) {
        self.give_up.cancelled().await;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut list = self.list.list.lock();
        list.waiting.remove(&self.request);
        if list.waiting.is_empty() {
            self.list.ended.notify_waiters();
        }
    }
}

/// Whether a thread with this `/proc/<tid>/status` was told to end its call.
fn ends(status: &str, signals: Signals) -> bool {
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| u64::from_str_radix(value.trim(), 16).ok()).unwrap_or(0)
    };
    let bit = |signal: i32| 1_u64 << (signal - 1);
    let pending = mask("SigPnd:") | mask("ShdPnd:");
    let interrupting = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGALRM];
    let wanted = match signals {
        Signals::Fatal => 0,
        Signals::Interrupting => interrupting.into_iter().fold(0, |all, signal| all | bit(signal)),
    };
    let heard = pending & !mask("SigBlk:") & !mask("SigIgn:") & wanted;
    heard != 0 || pending & bit(libc::SIGKILL) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(pending: u64, blocked: u64, ignored: u64) -> String {
        format!(
            "Name:\tcat\nSigPnd:\t{pending:016x}\nShdPnd:\t0000000000000000\nSigBlk:\t{blocked:016x}\n\
             SigIgn:\t{ignored:016x}\nSigCgt:\t0\n"
        )
    }

    #[test]
    fn only_signals_that_are_heard_end_a_request() {
        let int = 1 << (libc::SIGINT - 1);
        let kill = 1 << (libc::SIGKILL - 1);
        let child = 1 << (libc::SIGCHLD - 1);
        assert!(!ends(&status(0, 0, 0), Signals::Interrupting));
        assert!(ends(&status(int, 0, 0), Signals::Interrupting));
        assert!(!ends(&status(int, int, 0), Signals::Interrupting));
        assert!(!ends(&status(int, 0, int), Signals::Interrupting));
        assert!(!ends(&status(int, 0, 0), Signals::Fatal));
        assert!(ends(&status(kill, 0, 0), Signals::Fatal));
        assert!(!ends(&status(child, 0, 0), Signals::Interrupting));
    }

    #[test]
    fn a_request_leaves_the_list_when_it_is_answered() {
        let list = InFlight::default();
        let watched = list.begin(1, std::process::id(), Signals::Interrupting);
        assert_eq!(list.list.lock().waiting.len(), 1);
        drop(watched);
        assert!(list.list.lock().waiting.is_empty());
        assert_eq!(list.look(), 0);
    }

    #[tokio::test]
    async fn what_is_drained_ends_and_nothing_more_begins() {
        let list = InFlight::default();
        let watched = list.begin(1, std::process::id(), Signals::Fatal);
        let mut drained = std::pin::pin!(list.drained());
        tokio::time::timeout(Duration::ZERO, drained.as_mut()).await.unwrap_err();
        assert!(list.begin(2, std::process::id(), Signals::Fatal).is_none());
        drop(watched);
        drained.await;
    }
}
