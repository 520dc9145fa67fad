//! A call at whichever master answers.

use super::login::{Login, Logins};
use crate::config::Config;
use goosefs_core::rpc::masters::Masters;
use goosefs_core::{Code, Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// First and longest pause between two rounds over all masters.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The masters, one after the other, again and again until the deadline. A master that falls silent in the middle of a
/// call (one that was stopped sends no reset) is left for the next.
#[derive(Debug)]
pub(super) struct Rounds {
    logins: Logins,
    masters: Masters,
    addresses: Vec<String>,
    deadline: Duration,
    /// The master that answered last.
    current: AtomicUsize,
}

impl Rounds {
    pub(super) fn new(config: &Config, masters: Masters) -> Rounds {
        Rounds {
            logins: Logins::new(config),
            masters,
            addresses: config.masters.clone(),
            deadline: config.deadline,
            current: AtomicUsize::new(0),
        }
    }

    /// Makes a call at the master that answered last, then at the others.
    ///
    /// # Errors
    /// The masters', or `Unavailable` or `DeadlineExceeded` with what the last one said.
    pub(super) async fn call<T, W>(&self, make: impl Fn(Arc<Login>) -> W) -> Result<T>
    where
        W: Future<Output = std::result::Result<T, tonic::Status>>,
    {
        let until = Instant::now() + self.deadline;
        let mut last = None;
        let mut pause = PAUSE;
        while Instant::now() < until {
            for _ in 0..self.addresses.len() {
                let current = self.current.load(Ordering::Relaxed);
                let address = &self.addresses[current % self.addresses.len()];
                match self.at(address, &make, until).await {
                    Err(error) if worth_repeating(error.code) => {
                        tracing::debug!(%address, %error, "a master did not answer");
                        self.logins.forget(address);
                        // Who was being asked when time ran out says less than those who were asked before.
                        if error.code != Code::DeadlineExceeded || last.is_none() {
                            last = Some(error);
                        }
                    }
                    outcome => return outcome,
                }
                // Another call may have moved on already.
                let next = current.wrapping_add(1);
                let _ = self.current.compare_exchange(current, next, Ordering::Relaxed, Ordering::Relaxed);
            }
            tokio::time::sleep_until(until.min(Instant::now() + pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Err(self.given_up(last))
    }

    async fn at<T, W>(&self, address: &str, make: &impl Fn(Arc<Login>) -> W, until: Instant) -> Result<T>
    where
        W: Future<Output = std::result::Result<T, tonic::Status>>,
    {
        let call = async {
            let login = self.logins.to(address).await?;
            make(login).await.map_err(Error::from)
        };
        tokio::select! {
            outcome = call => outcome,
            () = self.masters.silence(address) => {
                Err(Error::new(Code::Unavailable, format!("{address} does not answer")))
            }
            () = tokio::time::sleep_until(until) => {
                Err(Error::new(Code::DeadlineExceeded, format!("{address} did not answer in time")))
            }
        }
    }

    fn given_up(&self, last: Option<Error>) -> Error {
        let last = last.unwrap_or_else(|| Error::new(Code::Unavailable, "no master is configured"));
        let (addresses, deadline) = (self.addresses.join(", "), self.deadline);
        let text = format!("no master among {addresses} answered within {deadline:?}: {}", last.message);
        Error::new(last.code, text).hint("are the masters running, and a majority of them reachable?")
    }
}

/// Whether the call may do better at another master or later. A login is forgotten when its master was restarted.
fn worth_repeating(code: Code) -> bool {
    code.retryable() || code == Code::Unauthenticated
}
