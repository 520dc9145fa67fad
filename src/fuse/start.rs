//! Starting and stopping a mount.

use crate::backend::Backend;
use crate::config::Config;
use crate::device::Device;
use crate::fs::{Fs, feed};
use crate::interrupt::{InFlight, PERIOD};
use crate::metrics::FuseMetrics;
use crate::ops::Ops;
use crate::park::Outliving;
use crate::park::keep::Kept;
use crate::preflight;
use crate::session::{self, Mounted};
use goosefs_core::Result;
use goosefs_core::clock::{Clock, SystemClock};
use goosefs_core::metrics::Metrics;
use goosefs_core::task::Tasks;
use nix::unistd::Uid;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How often capacity is asked for and kept files are looked through.
const UPKEEP: Duration = Duration::from_secs(5);

/// A process that hands its mount over ends the calls under way within this.
const DRAIN: Duration = Duration::from_secs(1);

/// What a mount takes from outside.
#[derive(Clone)]
pub struct Deps {
    /// The cluster.
    pub backend: Arc<dyn Backend>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where counters are registered; the backend's may be there already.
    pub metrics: Metrics,
}

impl Deps {
    /// A cluster, by the machine's clock.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>) -> Deps {
        Deps { backend, clock: SystemClock::shared(), metrics: Metrics::new() }
    }
}

impl fmt::Debug for Deps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Deps")
    }
}

/// A mount that was started.
#[derive(Debug)]
pub struct Running {
    fs: Arc<Fs>,
    device: Arc<Device>,
    metrics: Metrics,
    counters: FuseMetrics,
    tasks: Tasks,
    mounted: tokio::sync::Mutex<Mounted>,
    ended: tokio_util::sync::CancellationToken,
    point: std::path::PathBuf,
    in_flight: InFlight,
    /// Set when holders are to keep the mount while no process serves it.
    kept: Option<Kept>,
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Device")
    }
}

impl Running {
    /// Where it is mounted.
    #[must_use]
    pub fn mount_point(&self) -> &Path {
        &self.point
    }

    /// What it counts, for the web port.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What it counts, for programs.
    #[must_use]
    pub fn counters(&self) -> &FuseMetrics {
        &self.counters
    }

    /// Whether the mount is served. It is from [`start`]'s return until it is unmounted.
    #[must_use]
    pub fn ready(&self) -> bool {
        !self.ended.is_cancelled()
    }

    /// Unmounts and stops. What is under way may end within `grace`; a mount that is still in use is detached, and says
    /// so in the log. A mount that a holder keeps is left to the next process instead.
    pub async fn shutdown(&self, grace: Duration) {
        if self.kept.as_ref().is_some_and(Kept::is_parked) {
            self.hand_over(grace).await;
        } else {
            self.end(grace).await;
        }
    }

    /// Leaves the mount with the holder, and stops.
    async fn hand_over(&self, grace: Duration) {
        tracing::info!(mount_point = %self.point.display(), "left with the holder for the next process");
        self.device.hush(grace.min(DRAIN)).await;
        // Calls with effects had better end here: the next process makes those again that were not answered. It also gets
        // those that come from now on.
        let _ = tokio::time::timeout(grace.min(DRAIN), self.in_flight.drained()).await;
        self.mounted.lock().await.hand_over();
        self.tasks.shutdown(grace).await;
    }

    /// Unmounts and stops, whether or not a holder keeps the mount.
    pub async fn end(&self, grace: Duration) {
        let begun = tokio::time::Instant::now();
        self.fs.drop_kept();
        self.mounted.lock().await.unmount(grace / 2).await;
        if let Some(kept) = &self.kept {
            kept.unpark().await;
        }
        self.tasks.shutdown(grace.saturating_sub(begun.elapsed())).await;
        self.fs.drop_kept();
        self.device.clear();
    }

    /// Returns when the mount has ended: after [`Running::shutdown`], or because it was unmounted from outside.
    pub async fn join(&self) {
        let failed = self.tasks.failed();
        tokio::select! {
            () = self.ended.cancelled() => {}
            () = failed.cancelled() => {}
        }
    }
}

/// Mounts and serves. When this returns the mount answers.
///
/// # Errors
/// `NotFound` when `/dev/fuse`, the mount point or (without root) `fusermount3` is missing, `NotDirectory` when the mount
/// point is none, `Busy` when a living mount lies there already, else what the kernel said.
pub async fn start(config: Config, deps: Deps) -> Result<Running> {
    let privileged = Uid::effective().is_root();
    let point = preflight::place(&config)?;
    let mut outliving = match config.holders.as_slice() {
        [] => None,
        _ if !privileged => None,
        holders => Some(Outliving::ask(holders, config.takeover, &point, deps.backend.cluster()).await?),
    };
    if !outliving.as_ref().is_some_and(Outliving::goes_on) {
        preflight::check(&point).await?;
    }
    if !privileged && config.passthrough {
        tracing::warn!("not root: cached files are read through the daemon; everything else works");
    }
    let tasks = Tasks::new("fuse");
    let metrics = deps.metrics;
    let counters = FuseMetrics::new(&metrics);
    let device: Arc<Device> = Arc::default();
    let fs =
        Fs::new(config.clone(), deps.backend, device.clone(), deps.clock, counters.clone(), tasks.clone());
    if let Some(outliving) = &mut outliving {
        outliving.adopt(&fs, &device);
    }
    let parking = outliving.as_mut().map(Outliving::parking);
    let in_flight = InFlight::default();
    let ops = Ops {
        fs: fs.clone(),
        tasks: tasks.clone(),
        runtime: tokio::runtime::Handle::current(),
        in_flight: in_flight.clone(),
        privileged,
    };
    let (kernel, at) = (device.clone(), point.clone());
    let mounting = tokio::task::spawn_blocking(move || session::mount(&config, at, ops, &kernel, parking));
    let mounted = mounting.await.map_err(|_| session::thread_ended(&point))??;
    let kept = outliving.and_then(|outliving| outliving.keep(&mounted, &device, &tasks));
    upkeep(&fs, &tasks, in_flight.clone());
    let ended = mounted.ended();
    let point = mounted.point().to_owned();
    tracing::info!(mount_point = %point.display(), "mounted");
    Ok(Running {
        fs,
        device,
        metrics,
        counters,
        tasks,
        mounted: mounted.into(),
        ended,
        point,
        in_flight,
        kept,
    })
}

/// The tasks beside the requests.
fn upkeep(fs: &Arc<Fs>, tasks: &Tasks, in_flight: InFlight) {
    tasks.spawn("feed", feed::follow(fs.clone(), tasks.stop()));
    let kept = fs.clone();
    tasks.ask_every("upkeep", UPKEEP, move || {
        let fs = kept.clone();
        async move {
            fs.expire_kept();
            fs.refresh_statfs().await;
        }
    });
    let counted = fs.clone();
    tasks.every("interrupts", PERIOD, move || {
        let (in_flight, fs) = (in_flight.clone(), counted.clone());
        async move {
            let given_up = in_flight.look();
            if given_up > 0 {
                tracing::debug!(given_up, interrupted = fs.metrics().interrupted.get(), "gave up requests");
            }
        }
    });
}
