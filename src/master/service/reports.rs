//! `MetricsMasterClientService`: the cluster's sums by name, as `fsadmin report metrics` prints them.

use super::{answer, not_served};
use crate::master::Master;
use goosefs_core::Result;
use goosefs_core::proto::internal::Caller;
use goosefs_core::proto::public::MetricType;
use goosefs_core::proto::public::metric::metrics_master_client_service_server::MetricsMasterClientService;
use goosefs_core::proto::public::metric::{
    ClearMetricsPRequest, ClearMetricsPResponse, GetMetricsPOptions, GetMetricsPResponse, MetricValue,
    MetricsHeartbeatPRequest, MetricsHeartbeatPResponse,
};
use std::collections::HashMap;
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub(super) struct Reports {
    master: Arc<Master>,
}

impl Reports {
    pub(super) fn new(master: Arc<Master>) -> Reports {
        Reports { master }
    }
}

#[tonic::async_trait]
impl MetricsMasterClientService for Reports {
    async fn clear_metrics(
        &self,
        _: Request<ClearMetricsPRequest>,
    ) -> Result<Response<ClearMetricsPResponse>, Status> {
        Err(not_served("ClearMetrics"))
    }

    async fn metrics_heartbeat(
        &self,
        request: Request<MetricsHeartbeatPRequest>,
    ) -> Result<Response<MetricsHeartbeatPResponse>, Status> {
        // Clients send these unasked and take an error amiss; what they count is not kept.
        answer(&self.master, "MetricsHeartbeat", request, |_, _, _| async {
            Ok(MetricsHeartbeatPResponse {})
        })
        .await
    }

    async fn get_metrics(
        &self,
        request: Request<GetMetricsPOptions>,
    ) -> Result<Response<GetMetricsPResponse>, Status> {
        answer(&self.master, "GetMetrics", request, metrics).await
    }
}

async fn metrics(master: Arc<Master>, _: Caller, _: GetMetricsPOptions) -> Result<GetMetricsPResponse> {
    let counts = master.journal.read()?.counts();
    let live = master.workers.live();
    let capacity: u64 = live.iter().map(|worker| worker.capacity()).sum();
    let used: u64 = live.iter().map(|worker| worker.used()).sum();
    let gauges = [
        ("Cluster.CapacityTotal", capacity),
        ("Cluster.CapacityUsed", used),
        ("Cluster.CapacityFree", capacity.saturating_sub(used)),
        ("Cluster.Workers", live.len() as u64),
        ("Master.TotalPaths", counts.files + counts.directories + counts.symlinks),
        ("Master.TotalFiles", counts.files),
        ("Master.TotalFileBytes", counts.bytes),
    ];
    let counters = [
        ("Master.UfsListings", master.metrics.listings.get()),
        ("Master.UfsListedEntries", master.metrics.listed_entries.get()),
        ("Master.UfsEffects", master.metrics.effects.get()),
    ];
    let gauges = gauges.into_iter().map(|(name, value)| (name, value, MetricType::Gauge));
    let counters = counters.into_iter().map(|(name, value)| (name, value, MetricType::Counter));
    let metrics: HashMap<String, MetricValue> =
        gauges.chain(counters).map(|(name, value, kind)| (name.to_owned(), number(value, kind))).collect();
    Ok(GetMetricsPResponse { metrics })
}

fn number(value: u64, kind: MetricType) -> MetricValue {
    MetricValue { double_value: Some(value as f64), string_value: None, metric_type: Some(kind as i32) }
}
