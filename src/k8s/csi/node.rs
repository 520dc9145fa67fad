//! The Node service: volumes on this node. Unpacks a request, checks it, lets one call at a time do the work, replies.

use super::busy::Busy;
use super::metrics::CsiMetrics;
use super::probe::{Probes, Space};
use super::source::{living, mount_of, told};
use super::volume::{Usage, Volume, patience, place, required};
use super::wire::csi::node_service_capability::{self, Rpc, rpc};
use super::wire::csi::volume_usage::Unit;
use super::wire::csi::{self, NodeServiceCapability, VolumeUsage, node_server};
use super::{Config, mounts};
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result, mountinfo};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

/// A mount has so long to say what it has room for.
const STATS: Duration = Duration::from_secs(5);

/// Answers kubelet about this node's volumes.
#[derive(Debug)]
pub(super) struct Node {
    node: String,
    mount_root: PathBuf,
    tasks: Tasks,
    metrics: CsiMetrics,
    busy: Busy,
    probes: Probes,
}

impl Node {
    pub(super) fn new(config: &Config, probes: Probes, tasks: &Tasks, metrics: CsiMetrics) -> Node {
        Node {
            node: config.node.clone(),
            mount_root: config.mount_root.clone(),
            tasks: tasks.clone(),
            metrics,
            busy: Busy::default(),
            probes,
        }
    }

    /// Does `work` as the only call at `what`. It goes on when the caller gives up, since half a mount is none, and the
    /// turn lasts as long.
    async fn alone<W>(&self, what: String, work: W) -> Result<()>
    where
        W: Future<Output = Result<()>> + Send + 'static,
    {
        let turn = self.busy.take(what)?;
        let (tell, told) = oneshot::channel();
        let stop = self.tasks.stop();
        self.tasks.spawn_request("a volume's call", async move {
            let outcome = tokio::select! {
                outcome = work => outcome,
                () = stop.cancelled() => Err(Error::new(Code::Unavailable, "the plugin is stopping")),
            };
            drop(turn);
            // The caller may have given up.
            let _ = tell.send(outcome);
        });
        told.await.map_err(|_| Error::new(Code::Internal, "the call ended early"))?
    }

    /// Logs and counts a failure, and makes the answer.
    fn answer<T: Default>(&self, call: &'static str, volume: &str, outcome: Result<()>) -> Answer<T> {
        match outcome {
            Ok(()) => Ok(Response::new(T::default())),
            Err(error) => {
                self.metrics.failures.inc();
                tracing::warn!(call, volume, %error, "kubelet is told so");
                Err(error.into())
            }
        }
    }

    async fn stage(&self, request: &csi::NodeStageVolumeRequest, patience: Duration) -> Result<()> {
        let id = required("volume_id", &request.volume_id)?;
        required("staging_target_path", &request.staging_target_path)?;
        Usage::of(request.volume_capability.as_ref(), false)?;
        let volume = Volume::of(&request.volume_context, &self.mount_root)?;
        let (probes, deadline) = (self.probes.clone(), Instant::now() + patience);
        let work = async move { living(&volume, &probes, deadline).await.map(drop) };
        self.alone(format!("volume {id}"), work).await
    }

    fn unstage(request: &csi::NodeUnstageVolumeRequest) -> Result<()> {
        required("volume_id", &request.volume_id)?;
        // Staging left nothing behind.
        required("staging_target_path", &request.staging_target_path).map(drop)
    }

    async fn publish(&self, request: &csi::NodePublishVolumeRequest, patience: Duration) -> Result<()> {
        let id = required("volume_id", &request.volume_id)?;
        let target = required("target_path", &request.target_path)?;
        let usage = Usage::of(request.volume_capability.as_ref(), request.readonly)?;
        let volume = Volume::of(&request.volume_context, &self.mount_root)?;
        let target = place("target_path", target)?.ok_or_else(|| {
            Error::new(Code::InvalidArgument, format!("target_path: {target} lies in no folder"))
        })?;
        let (probes, deadline) = (self.probes.clone(), Instant::now() + patience);
        let published = self.metrics.published.clone();
        let what = format!("volume {id} at {}", target.display());
        let work = async move {
            if let Some(source) = mount_of(&volume)
                && mounts::is_shown(&target, &source, usage)?
            {
                return Ok(());
            }
            let source = living(&volume, &probes, deadline).await?;
            let bound = tokio::task::spawn_blocking(move || mounts::bind(&source, &target, usage));
            bound
                .await
                .map_err(|error| Error::new(Code::Internal, format!("binding ended early: {error}")))??;
            published.inc();
            Ok(())
        };
        self.alone(what, work).await
    }

    async fn unpublish(&self, request: &csi::NodeUnpublishVolumeRequest) -> Result<()> {
        let id = required("volume_id", &request.volume_id)?;
        let target = required("target_path", &request.target_path)?;
        let Some(target) = place("target_path", target)? else { return Ok(()) };
        let unpublished = self.metrics.unpublished.clone();
        let what = format!("volume {id} at {}", target.display());
        let work = async move {
            mounts::take_away(&target).await?;
            unpublished.inc();
            Ok(())
        };
        self.alone(what, work).await
    }

    async fn stats(&self, request: &csi::NodeGetVolumeStatsRequest) -> Result<Space> {
        required("volume_id", &request.volume_id)?;
        let path = required("volume_path", &request.volume_path)?;
        let absent = || Error::new(Code::NotFound, format!("no volume is published at {path}"));
        if !Path::new(path).is_absolute() {
            return Err(absent());
        }
        let place = place("volume_path", path)?.ok_or_else(absent)?;
        let mount = mountinfo::at(&place).ok_or_else(absent)?;
        let Ok(answer) = tokio::time::timeout(STATS, self.probes.ask(&mount)).await else {
            return Err(Error::new(Code::Unavailable, format!("{path} does not answer")));
        };
        answer?.map_err(|errno| told(&mount, errno))
    }
}

type Answer<T> = std::result::Result<Response<T>, Status>;

fn usage([total, used, available]: [u64; 3], unit: Unit) -> VolumeUsage {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    VolumeUsage { available: number(available), total: number(total), used: number(used), unit: unit.into() }
}

fn unserved<T>(what: &str) -> Answer<T> {
    Err(Error::new(Code::Unimplemented, format!("this driver has no {what}")).into())
}

#[tonic::async_trait]
impl node_server::Node for Node {
    async fn node_stage_volume(
        &self,
        request: Request<csi::NodeStageVolumeRequest>,
    ) -> Answer<csi::NodeStageVolumeResponse> {
        let patience = patience(request.metadata());
        let request = request.into_inner();
        let outcome = self.stage(&request, patience).await;
        self.answer("NodeStageVolume", &request.volume_id, outcome)
    }

    async fn node_unstage_volume(
        &self,
        request: Request<csi::NodeUnstageVolumeRequest>,
    ) -> Answer<csi::NodeUnstageVolumeResponse> {
        let request = request.into_inner();
        let outcome = Node::unstage(&request);
        self.answer("NodeUnstageVolume", &request.volume_id, outcome)
    }

    async fn node_publish_volume(
        &self,
        request: Request<csi::NodePublishVolumeRequest>,
    ) -> Answer<csi::NodePublishVolumeResponse> {
        let patience = patience(request.metadata());
        let request = request.into_inner();
        let outcome = self.publish(&request, patience).await;
        self.answer("NodePublishVolume", &request.volume_id, outcome)
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<csi::NodeUnpublishVolumeRequest>,
    ) -> Answer<csi::NodeUnpublishVolumeResponse> {
        let request = request.into_inner();
        let outcome = self.unpublish(&request).await;
        self.answer("NodeUnpublishVolume", &request.volume_id, outcome)
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<csi::NodeGetVolumeStatsRequest>,
    ) -> Answer<csi::NodeGetVolumeStatsResponse> {
        let request = request.into_inner();
        match self.stats(&request).await {
            Ok(space) => Ok(Response::new(csi::NodeGetVolumeStatsResponse {
                usage: vec![usage(space.bytes, Unit::Bytes), usage(space.files, Unit::Inodes)],
            })),
            Err(error) => self.answer("NodeGetVolumeStats", &request.volume_id, Err(error)),
        }
    }

    async fn node_get_volume_health(
        &self,
        _request: Request<csi::NodeGetVolumeHealthRequest>,
    ) -> Answer<csi::NodeGetVolumeHealthResponse> {
        unserved("health of volumes")
    }

    async fn node_get_storage_health(
        &self,
        _request: Request<csi::NodeGetStorageHealthRequest>,
    ) -> Answer<csi::NodeGetStorageHealthResponse> {
        unserved("health of the storage")
    }

    async fn node_expand_volume(
        &self,
        _request: Request<csi::NodeExpandVolumeRequest>,
    ) -> Answer<csi::NodeExpandVolumeResponse> {
        unserved("volumes of a fixed size")
    }

    async fn node_get_capabilities(
        &self,
        _request: Request<csi::NodeGetCapabilitiesRequest>,
    ) -> Answer<csi::NodeGetCapabilitiesResponse> {
        let capability = |what: rpc::Type| NodeServiceCapability {
            r#type: Some(node_service_capability::Type::Rpc(Rpc { r#type: what.into() })),
        };
        Ok(Response::new(csi::NodeGetCapabilitiesResponse {
            capabilities: vec![
                capability(rpc::Type::StageUnstageVolume),
                capability(rpc::Type::GetVolumeStats),
            ],
        }))
    }

    async fn node_get_info(
        &self,
        _request: Request<csi::NodeGetInfoRequest>,
    ) -> Answer<csi::NodeGetInfoResponse> {
        Ok(Response::new(csi::NodeGetInfoResponse { node_id: self.node.clone(), ..Default::default() }))
    }
}
