//! The one place where tasks are spawned: each has a name, a scope that waits for it, and a known end.
//!
//! A role makes one [`Tasks`] and hands clones to its rooms. [`Tasks::shutdown`] cancels the token every task listens
//! to and waits; what has not ended by then is aborted and named in the log. A task that panics is logged as ERROR and
//! brings its role down, so the process never limps on without a part of itself.

use futures::FutureExt;
use parking_lot::Mutex;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tasks of one role.
#[derive(Clone, Debug)]
pub struct Tasks {
    role: Arc<str>,
    tracker: TaskTracker,
    stop: CancellationToken,
    failed: CancellationToken,
    running: Arc<Mutex<Running>>,
}

#[derive(Debug, Default)]
struct Running {
    next: u64,
    handles: BTreeMap<u64, (Cow<'static, str>, AbortHandle)>,
}

impl Tasks {
    /// No tasks yet; `role` stands before each task's name in logs.
    #[must_use]
    pub fn new(role: impl Into<Arc<str>>) -> Tasks {
        Tasks {
            role: role.into(),
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            failed: CancellationToken::new(),
            running: Arc::default(),
        }
    }

    /// Cancelled when the role is told to stop. Every long-lived task selects on it.
    #[must_use]
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Cancelled when a task panicked: whoever runs the role must end it.
    #[must_use]
    pub fn failed(&self) -> CancellationToken {
        self.failed.clone()
    }

    /// Runs `work` under `name` until it ends. It should return soon after [`Tasks::stop`] is cancelled.
    pub fn spawn(&self, name: impl Into<Cow<'static, str>>, work: impl Future<Output = ()> + Send + 'static) {
        let tasks = self.clone();
        let name = name.into();
        let label = name.clone();
        self.track(name, async move {
            if std::panic::AssertUnwindSafe(work).catch_unwind().await.is_err() {
                tracing::error!(task = %format!("{}/{label}", tasks.role), "task panicked, the role ends");
                tasks.failed.cancel();
                tasks.stop.cancel();
            }
        });
    }

    /// Runs the work of one request, of which there are many at a time under the same `name`: a panic is logged and
    /// ends this one only.
    pub fn spawn_request(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let role = Arc::clone(&self.role);
        self.track(Cow::Borrowed(name), async move {
            if std::panic::AssertUnwindSafe(work).catch_unwind().await.is_err() {
                tracing::error!(task = %format!("{role}/{name}"), "a request's handler panicked");
            }
        });
    }

    fn track(&self, name: Cow<'static, str>, work: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.running.lock();
        let key = running.next;
        running.next += 1;
        let registered = Arc::clone(&self.running);
        let handle = self.tracker.spawn(async move {
            work.await;
            registered.lock().handles.remove(&key);
        });
        running.handles.insert(key, (name, handle.abort_handle()));
    }

    /// Runs `work` again and again, `period` apart, until the role stops.
    pub fn every<F, W>(&self, name: impl Into<Cow<'static, str>>, period: Duration, mut work: F)
    where
        F: FnMut() -> W + Send + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop();
        self.spawn(name, async move {
            let mut ticks = tokio::time::interval(period);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = ticks.tick() => work().await,
                }
            }
        });
    }

    /// As [`Tasks::every`], but what is under way when the role stops is dropped: for questions to others, who may not
    /// answer any more, and whose answers change nothing that must be whole.
    pub fn ask_every<F, W>(&self, name: impl Into<Cow<'static, str>>, period: Duration, mut question: F)
    where
        F: FnMut() -> W + Send + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop();
        self.every(name, period, move || {
            let (stop, asked) = (stop.clone(), question());
            async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = asked => {}
                }
            }
        });
    }

    /// Tells every task to stop and waits up to `grace`; returns the names of those that were cut off.
    pub async fn shutdown(&self, grace: Duration) -> Vec<String> {
        self.stop.cancel();
        self.tracker.close();
        if tokio::time::timeout(grace, self.tracker.wait()).await.is_ok() {
            return Vec::new();
        }
        let left: Vec<(String, AbortHandle)> = std::mem::take(&mut self.running.lock().handles)
            .into_values()
            .map(|(name, handle)| (format!("{}/{name}", self.role), handle))
            .collect();
        for (name, handle) in &left {
            tracing::warn!(task = %name, "task did not stop in time and was cut off");
            handle.abort();
        }
        left.into_iter().map(|(name, _)| name).collect()
    }

    /// Waits until every task has ended after [`Tasks::shutdown`] or a failure.
    pub async fn join(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_listens_ends_within_the_grace() {
        let tasks = Tasks::new("test");
        let stop = tasks.stop();
        tasks.spawn("listens", async move { stop.cancelled().await });
        assert_eq!(tasks.shutdown(Duration::from_secs(5)).await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_task_that_does_not_listen_is_cut_off_and_named() {
        let tasks = Tasks::new("test");
        tasks.spawn("deaf", std::future::pending());
        assert_eq!(tasks.shutdown(Duration::from_millis(20)).await, ["test/deaf"]);
        tasks.join().await;
    }

    #[tokio::test]
    async fn a_question_that_nobody_answers_ends_with_the_role() {
        let tasks = Tasks::new("test");
        tasks.ask_every("asks", Duration::from_millis(1), std::future::pending);
        assert_eq!(tasks.shutdown(Duration::from_secs(5)).await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_panic_brings_the_role_down() {
        let tasks = Tasks::new("test");
        tasks.spawn("panics", async { panic!("on purpose") });
        tasks.failed().cancelled().await;
        assert!(tasks.stop().is_cancelled());
    }
}
