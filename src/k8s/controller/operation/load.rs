//! DataLoad: jobs of the masters, one for each target.

use super::super::context::Context;
use super::due::{Due, due};
use super::flow::{Ground, Operation, SOON};
use super::jobs;
use super::tell::{self, Wait};
use crate::crd::check::{self, Violation};
use crate::crd::{DataLoad, OperationJob, OperationKind, OperationRef, OperationStatus, Policy, TargetPath};
use goosefs_core::config::value;
use goosefs_core::proto::internal::{Preload, PreloadOptions, PreloadState};
use goosefs_core::{Code, Error, Result};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use std::time::Duration;

impl Operation for DataLoad {
    const KIND: OperationKind = OperationKind::DataLoad;
    const FINALIZER: &'static str = "fluid-dataload-controller-finalizer";

    fn dataset(&self) -> &str {
        &self.spec.dataset.name
    }

    fn run_after(&self) -> Option<&OperationRef> {
        self.spec.run_after.as_ref()
    }

    fn ttl(&self) -> Option<i32> {
        self.spec.ttl_seconds_after_finished
    }

    fn wrong(&self) -> Vec<Violation> {
        check::load(self)
    }

    fn status(&self) -> OperationStatus {
        self.status.clone().unwrap_or_default()
    }

    fn repeats(&self) -> bool {
        self.spec.policy != Policy::Once
    }

    async fn work(&self, ground: &Ground, status: &mut OperationStatus, _: &Context) -> Result<Duration> {
        let generation = self.metadata.generation;
        if !tell::is_under_way(status) {
            match due(self, &ground.dataset, status, Timestamp::now()) {
                Due::Now(run) => {
                    tell::begin(status, run);
                    if self.spec.policy == Policy::Cron {
                        status.last_schedule_time = Some(Time(Timestamp::now()));
                    }
                }
                Due::In(pause) => return Ok(pause),
                Due::Wait(Wait::For(reason, message)) => {
                    tell::waits(status, reason, message, generation);
                    return Ok(SOON);
                }
                Due::Wait(Wait::Never(message)) => {
                    tell::fail(status, "DataOperationFailed", message, Duration::ZERO, generation);
                    return Ok(SOON);
                }
            }
        }
        match self.begin_jobs(ground, status).await {
            Ok(()) => {}
            Err(error) if error.code == Code::AlreadyExists => {
                tell::waits(status, "PathIsBeingLoaded", error.to_string(), generation);
                return Ok(SOON);
            }
            Err(error) if error.code.retryable() || error.code == Code::NotLeader => return Err(error),
            Err(error) => {
                self.cancel_jobs(ground, status).await?;
                tell::fail(status, "DataOperationFailed", error.to_string(), self.took(&[]), generation);
                return Ok(SOON);
            }
        }
        self.follow_jobs(ground, status).await?;
        Ok(SOON)
    }

    async fn cancel(&self, ground: &Ground, _: &Context) -> Result<()> {
        self.cancel_jobs(ground, &self.status()).await
    }
}

impl DataLoad {
    /// Each path once; everything, when nothing is named.
    fn targets(&self) -> Vec<TargetPath> {
        let mut targets = self.spec.target.clone();
        targets.sort_by(|one, other| one.path.cmp(&other.path));
        targets.dedup_by(|one, other| one.path == other.path);
        if targets.is_empty() {
            targets.push(TargetPath { path: "/".to_owned(), replicas: None });
        }
        targets
    }

    /// Begins what is not begun yet. A job is called after the DataLoad, the run and the path, so it is begun once, even if
    /// this process dies before the job's number is written down.
    async fn begin_jobs(&self, ground: &Ground, status: &mut OperationStatus) -> Result<()> {
        let run = status.run.clone().unwrap_or_default();
        let option = |name: &str| self.spec.options.get(name).map(String::as_str);
        for target in self.targets() {
            if status.jobs.iter().any(|job| job.path == target.path) {
                continue;
            }
            let options = PreloadOptions {
                replication: target.replicas.and_then(|count| u32::try_from(count).ok()).unwrap_or_default(),
                within_ms: option("expireTime").and_then(|text| text.parse().ok()).unwrap_or_default(),
                bandwidth: option("bandwidth").and_then(value::size).unwrap_or_default(),
                beyond_capacity: option("ignoreCap") == Some("true"),
                fresh: self.spec.load_metadata,
                ..PreloadOptions::default()
            };
            let key = format!("DataLoad/{}/{run}{}", self.uid().unwrap_or_default(), target.path);
            let begun = jobs::submit(&ground.leader, &target.path, key, options).await;
            let id = begun.map_err(|error| error.context(format!("load {}", target.path)))?;
            let id = i64::try_from(id)
                .map_err(|_| Error::new(Code::Internal, format!("job {id} has too large a number")))?;
            status.jobs.push(OperationJob { path: target.path, id, ended: false });
        }
        if !tell::executes(status) {
            let numbers: Vec<String> = status.jobs.iter().map(|job| job.id.to_string()).collect();
            let word = if numbers.len() == 1 { "job" } else { "jobs" };
            let message = format!("the masters load it: {word} {}", numbers.join(", "));
            tell::execute(status, message, self.metadata.generation);
        }
        Ok(())
    }

    /// Looks how jobs are. One that masters do not know any more, as after all their journals were lost, is begun anew.
    async fn follow_jobs(&self, ground: &Ground, status: &mut OperationStatus) -> Result<()> {
        let mut all = Vec::new();
        for job in std::mem::take(&mut status.jobs) {
            let number = u64::try_from(job.id).unwrap_or_default();
            if let Some(found) = jobs::look(&ground.leader.channel, number).await? {
                let ended = found.state() != PreloadState::Running;
                status.jobs.push(OperationJob { ended, ..job });
                all.push(found);
            }
        }
        status.infos = tell::figures(&all);
        if all.len() < self.targets().len() || status.jobs.iter().any(|job| !job.ended) {
            return Ok(());
        }
        let (took, generation) = (self.took(&all), self.metadata.generation);
        match tell::outcome(&all) {
            Ok(message) => tell::complete(status, message, took, generation),
            Err(message) => tell::fail(status, "DataOperationFailed", message, took, generation),
        }
        Ok(())
    }

    async fn cancel_jobs(&self, ground: &Ground, status: &OperationStatus) -> Result<()> {
        for job in status.jobs.iter().filter(|job| !job.ended) {
            jobs::stop(&ground.leader.channel, u64::try_from(job.id).unwrap_or_default()).await?;
        }
        Ok(())
    }

    /// From the creation, or the beginning of a repeated run, until now.
    fn took(&self, jobs: &[Preload]) -> Duration {
        let begun = jobs.iter().map(|job| job.begun_ms).min().filter(|_| self.repeats());
        let begun = begun.and_then(|ms| Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok());
        let begun = begun.or_else(|| self.creation_timestamp().map(|time| time.0));
        begun.map_or(Duration::ZERO, |begun| {
            Duration::try_from(Timestamp::now().duration_since(begun)).unwrap_or_default()
        })
    }
}
