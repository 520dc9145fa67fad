//! What the leader is asked about jobs: to begin one, how it is, to stop it.

use super::super::ask::Leader;
use goosefs_core::proto::internal::{
    Caller, Empty, Preload, PreloadOptions, PreloadState, PreloadsRequest, PreloadsResponse,
    StopPreloadRequest, SubmitPreloadRequest, SubmitPreloadResponse,
};
use goosefs_core::proto::method::{self, Method};
use goosefs_core::rpc::frame::Channel;
use goosefs_core::{Code, Error, Result};
use prost::Message;
use std::time::Duration;

/// Looking for a path may ask its storage.
const PATIENCE: Duration = Duration::from_secs(30);

/// Begins a job; one that was begun under the same key is the answer, whatever became of it.
///
/// # Errors
/// The leader's: `NotFound`, `AlreadyExists` when another job loads the path.
pub(super) async fn submit(leader: &Leader, path: &str, key: String, options: PreloadOptions) -> Result<u64> {
    let request = SubmitPreloadRequest {
        op: None,
        caller: Some(Caller { user: leader.master.user.clone(), group: String::new() }),
        path: path.to_owned(),
        options: Some(options),
        key,
    };
    let answer: SubmitPreloadResponse = ask(&leader.channel, method::SUBMIT_PRELOAD, &request).await?;
    Ok(answer.preload)
}

/// How a job is, with the files that were not loaded once it has ended; none when it is not known.
///
/// # Errors
/// The leader's.
pub(super) async fn look(leader: &Channel, id: u64) -> Result<Option<Preload>> {
    let mut request = PreloadsRequest { preload: id, ..PreloadsRequest::default() };
    loop {
        let answer: Result<PreloadsResponse> = ask(leader, method::PRELOADS, &request).await;
        let found = match answer {
            Ok(answer) => answer.preloads.into_iter().next(),
            Err(error) if error.code == Code::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let ended = found.as_ref().is_some_and(|job| job.state() != PreloadState::Running);
        if request.failures || !ended {
            return Ok(found);
        }
        request.failures = true;
    }
}

/// Stops a job, if it still runs.
///
/// # Errors
/// The leader's.
pub(super) async fn stop(leader: &Channel, id: u64) -> Result<()> {
    let stopped: Result<Empty> = ask(leader, method::STOP_PRELOAD, &StopPreloadRequest { preload: id }).await;
    match stopped {
        Err(error) if !matches!(error.code, Code::NotFound | Code::InvalidArgument) => Err(error),
        _ => Ok(()),
    }
}

async fn ask<Q: Message, A: Message + Default>(leader: &Channel, method: Method, request: &Q) -> Result<A> {
    let late = |_| Error::new(Code::DeadlineExceeded, "the leading master takes too long to answer");
    tokio::time::timeout(PATIENCE, leader.call(method, request)).await.map_err(late)?
}
