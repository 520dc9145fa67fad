//! Preloads: begun, looked at and stopped by our own clients. The leader carries them out (`master/preload`).

use super::{acting, answered, caller, numbered};
use crate::authority::{READ, Who};
use crate::journal::Op;
use crate::master::Master;
use goosefs_core::Result;
use goosefs_core::path::NsPath;
use goosefs_core::proto::internal::{
    Caller, Empty, Preload, PreloadState, PreloadsRequest, PreloadsResponse, StopPreloadRequest,
    SubmitPreloadRequest, SubmitPreloadResponse,
};
use goosefs_core::proto::journal::{AdvancePreload, SubmitPreload, entry::Command};
use std::sync::Arc;

pub(super) async fn submit(
    master: Arc<Master>,
    who: Who,
    request: SubmitPreloadRequest,
) -> Result<SubmitPreloadResponse> {
    if let Some(applied) = answered(&master, request.op).await? {
        return Ok(SubmitPreloadResponse { preload: applied.preload });
    }
    if let Some(known) = master.journal.read()?.preload_of_key(&request.key) {
        return Ok(SubmitPreloadResponse { preload: known.id });
    }
    let path = NsPath::parse(&request.path)?;
    let found = master.finder.existing(&path, master.freshness(), true).await?;
    who.open(&*master.journal.read()?, found.resolved.node, READ)?;
    let command = Command::SubmitPreload(SubmitPreload {
        path: request.path,
        options: request.options,
        key: request.key,
    });
    let applied = numbered(&master, command, acting(&who, request.caller)?, request.op).await?;
    Ok(SubmitPreloadResponse { preload: applied.preload })
}

pub(super) async fn list(master: Arc<Master>, request: PreloadsRequest) -> Result<PreloadsResponse> {
    let known: Vec<Arc<Preload>> = {
        let namespace = master.journal.read()?;
        match (request.preload, request.path.as_str()) {
            (0, "") => namespace.preloads().rev().cloned().collect(),
            (0, path) => {
                let path = NsPath::parse(path)?;
                namespace
                    .preloads()
                    .rev()
                    .find(|one| one.path == path.as_str())
                    .into_iter()
                    .cloned()
                    .collect()
            }
            (id, _) => vec![namespace.preload(id)?],
        }
    };
    let told = |preload: &Arc<Preload>| {
        let failures = if request.failures { preload.failures.clone() } else { Vec::new() };
        Preload {
            id: preload.id,
            path: preload.path.clone(),
            options: preload.options,
            state: preload.state,
            reason: preload.reason.clone(),
            progress: preload.progress.clone(),
            failures,
            begun_ms: preload.begun_ms,
            ended_ms: preload.ended_ms,
            user: preload.user.clone(),
            key: preload.key.clone(),
        }
    };
    Ok(PreloadsResponse { preloads: known.iter().map(told).collect() })
}

pub(super) async fn stop(master: Arc<Master>, who: Who, request: StopPreloadRequest) -> Result<Empty> {
    let preload = master.journal.read()?.preload(request.preload)?;
    who.act_for(&Caller { user: preload.user.clone(), group: String::new() })?;
    let command = Command::AdvancePreload(AdvancePreload {
        preload: request.preload,
        failures_from: u64::MAX,
        state: PreloadState::Stopped.into(),
        ..AdvancePreload::default()
    });
    master.journal.propose(command, &caller(None), Op::Unnumbered).await?;
    Ok(Empty {})
}
