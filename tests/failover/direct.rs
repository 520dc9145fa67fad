//! Reads that go to one master whether it leads or not. They are sent even while it is stopped or deposed, so that its
//! first answers afterwards are among them: each must be a refusal, or as new as when it was asked for.

use crate::load::{Shared, register};
use goosefs_core::Result;
use goosefs_core::proto::internal::{AttrResponse, ResolveRequest};
use goosefs_core::proto::method;
use goosefs_core::rpc::frame::Channel;
use goosefs_core::task::Tasks;
use goosefs_harness::connect_to;
use rand::Rng;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Between two questions.
const PACE: Duration = Duration::from_millis(5);

/// Unanswered questions at once.
const MOST: usize = 2000;

/// Starts to ask the master at `address`.
pub(crate) fn ask(address: String, shared: Arc<Shared>, tasks: Tasks) -> JoinHandle<()> {
    tokio::spawn(async move {
        let unanswered = Arc::new(AtomicUsize::new(0));
        let mut channel: Option<Channel> = None;
        while !shared.stops() {
            tokio::time::sleep(PACE).await;
            let open = match channel.take().filter(|channel| !channel.is_closed()) {
                Some(open) => open,
                None => match connect_to(&address, &tasks).await {
                    Ok(open) => open,
                    Err(_) => continue,
                },
            };
            channel = Some(open.clone());
            if unanswered.load(Ordering::SeqCst) < MOST {
                unanswered.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(question(open, shared.clone(), unanswered.clone(), address.clone()));
            }
        }
    })
}

async fn question(channel: Channel, shared: Arc<Shared>, unanswered: Arc<AtomicUsize>, address: String) {
    let number = rand::rng().random_range(0..shared.writers.len());
    let writer = &shared.writers[number];
    let least = writer.least();
    let request =
        ResolveRequest { path: register(number).as_str().to_owned(), sync_interval_ms: None, access: 0 };
    let answer: Result<AttrResponse> = channel.call(method::RESOLVE, &request).await;
    unanswered.fetch_sub(1, Ordering::SeqCst);
    let most = writer.most();
    shared.note(|counts| match answer.map(|answer| answer.attr) {
        Ok(Some(attr)) if (least..=most).contains(&attr.mtime_ms) => counts.direct_answers += 1,
        Ok(attr) => {
            let said = attr.map(|attr| attr.mtime_ms);
            let text = format!("{address} says {said:?} of /r{number}, between {least} and {most} was set");
            counts.stale.push(text);
        }
        Err(_) => counts.direct_refusals += 1,
    });
}
