//! Trees that the masters have workers cache: begun here, carried out by whoever leads, whether or not we stay.

use crate::session::Session;
use goosefs_core::path::NsPath;
use goosefs_core::proto::internal::{
    Caller, Empty, Preload, PreloadOptions, PreloadsRequest, PreloadsResponse, StopPreloadRequest,
    SubmitPreloadRequest, SubmitPreloadResponse,
};
use goosefs_core::proto::method;
use goosefs_core::rpc::masters::Masters;
use goosefs_core::{Code, Error, Result};
use std::sync::Arc;

/// The cluster's preloads. Cheap to clone. Errors are the leader's, or `Unavailable` when none answered.
#[derive(Clone, Debug)]
pub struct Preloads {
    masters: Masters,
    session: Arc<Session>,
    caller: Caller,
}

impl Preloads {
    pub(crate) fn new(masters: Masters, session: Arc<Session>, caller: Caller) -> Preloads {
        Preloads { masters, session, caller }
    }

    /// Has the tree at `path` cached; gives the job's id.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`; `AlreadyExists` when a job loads this path already.
    pub async fn submit(&self, path: &NsPath, options: PreloadOptions) -> Result<u64> {
        let request = |op| SubmitPreloadRequest {
            op: Some(op),
            caller: Some(self.caller.clone()),
            path: path.as_str().to_owned(),
            options: Some(options),
            key: String::new(),
        };
        let answer: SubmitPreloadResponse = self.session.call(method::SUBMIT_PRELOAD, request).await?;
        Ok(answer.preload)
    }

    /// Every job that is known, the newest first, without the names of files that failed.
    pub async fn all(&self) -> Result<Vec<Preload>> {
        self.ask(PreloadsRequest::default()).await
    }

    /// One job, with the files that failed if asked for.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn one(&self, id: u64, failures: bool) -> Result<Preload> {
        let found = self.ask(PreloadsRequest { preload: id, failures, ..Default::default() }).await?;
        found.into_iter().next().ok_or_else(|| Error::new(Code::NotFound, format!("job {id} does not exist")))
    }

    /// The newest job of a path, if one is known.
    pub async fn of(&self, path: &NsPath, failures: bool) -> Result<Option<Preload>> {
        let path = path.as_str().to_owned();
        Ok(self.ask(PreloadsRequest { preload: 0, path, failures }).await?.into_iter().next())
    }

    /// Ends a job; what it has cached stays.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`; `InvalidArgument` when it has ended.
    pub async fn stop(&self, id: u64) -> Result<()> {
        let request = StopPreloadRequest { preload: id };
        self.masters.call::<_, Empty>(method::STOP_PRELOAD, &request).await.map(drop)
    }

    async fn ask(&self, request: PreloadsRequest) -> Result<Vec<Preload>> {
        let answer: PreloadsResponse = self.masters.call(method::PRELOADS, &request).await?;
        Ok(answer.preloads)
    }
}
