//! DataBackup: a pod that takes a backup from the leading master to its place.

use super::super::context::{Context, api_error, unplaced};
use super::super::plan::names::Names;
use super::super::plan::pods::phase_of;
use super::super::plan::{Given, backup};
use super::flow::{Ground, Operation, SOON};
use super::tell;
use crate::crd::check::{self, Violation};
use crate::crd::{DataBackup, OperationKind, OperationRef, OperationStatus, Place};
use goosefs_core::{Code, Error, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use std::time::Duration;

impl Operation for DataBackup {
    const KIND: OperationKind = OperationKind::DataBackup;
    const FINALIZER: &'static str = "fluid-databackup-controller-finalizer";

    fn dataset(&self) -> &str {
        &self.spec.dataset
    }

    fn run_after(&self) -> Option<&OperationRef> {
        self.spec.run_after.as_ref()
    }

    fn ttl(&self) -> Option<i32> {
        self.spec.ttl_seconds_after_finished
    }

    fn wrong(&self) -> Vec<Violation> {
        check::backup(self)
    }

    fn status(&self) -> OperationStatus {
        self.status.clone().unwrap_or_default()
    }

    fn repeats(&self) -> bool {
        false
    }

    async fn work(
        &self,
        ground: &Ground,
        status: &mut OperationStatus,
        context: &Context,
    ) -> Result<Duration> {
        if status.run.is_none() {
            tell::begin(status, "1".to_owned());
        }
        let pods: Api<Pod> = Api::namespaced(context.client.clone(), &self.namespace().unwrap_or_default());
        let name = backup::pod_name(&self.name_any());
        let listed = pods.list(&ListParams::default().fields(&format!("metadata.name={name}"))).await;
        let found = listed.map_err(|error| api_error("list pods", error))?.items.into_iter().next();
        match found {
            None => {
                let pod = self.pod(ground, context)?;
                match pods.create(&PostParams::default(), &pod).await {
                    Err(kube::Error::Api(answer)) if answer.code == 409 => return Ok(SOON),
                    made => made.map_err(|error| api_error(&format!("create pod {name}"), error))?,
                };
                self.begun(status, &pod);
            }
            // Of another DataBackup of this name, which was deleted, or somebody's own.
            Some(pod)
                if pod
                    .owner_references()
                    .iter()
                    .all(|owner| Some(&owner.uid) != self.metadata.uid.as_ref()) =>
            {
                let message = format!("pod {name} is there already and is not of this DataBackup");
                tell::waits(status, "PodNameIsTaken", message, self.metadata.generation);
            }
            Some(pod) => {
                self.begun(status, &pod);
                self.follow(status, &pod);
            }
        }
        Ok(SOON)
    }

    /// The pod is the object's, and goes with it.
    async fn cancel(&self, _: &Ground, _: &Context) -> Result<()> {
        Ok(())
    }
}

impl DataBackup {
    fn pod(&self, ground: &Ground, context: &Context) -> Result<Pod> {
        let namespace = self.namespace().unwrap_or_default();
        let uid = ground.dataset.uid().unwrap_or_default();
        let names = Names::new(&namespace, &self.spec.dataset, &uid);
        let given = Given::bare(names, &ground.dataset, &ground.runtime, &context.image, &context.driver);
        let object = backup::pod(&given, self, leaders_node(ground))?;
        serde_json::from_value(object.0)
            .map_err(|error| Error::new(Code::Internal, format!("make the pod of a backup: {error}")))
    }

    fn begun(&self, status: &mut OperationStatus, pod: &Pod) {
        let local = matches!(Place::parse(&self.spec.backup_path), Ok(Place::Local { .. }));
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).filter(|_| local);
        let mut set = |key: &str, value: String| status.infos.insert(key.to_owned(), value);
        set("BackupLocationPath", self.spec.backup_path.clone());
        set("BackupLocationNodeName", node.unwrap_or_else(|| "NA".to_owned()));
        if !tell::executes(status) {
            let message = format!("pod {} takes it from the leading master", pod.name_any());
            tell::execute(status, message, self.metadata.generation);
        }
    }

    fn follow(&self, status: &mut OperationStatus, pod: &Pod) {
        let generation = self.metadata.generation;
        let took = self.creation_timestamp().map(|time| Timestamp::now().duration_since(time.0));
        let took = took.and_then(|took| Duration::try_from(took).ok()).unwrap_or_default();
        status.infos.remove("Waiting");
        match phase_of(pod) {
            Some("Succeeded") => {
                let said = said_by(pod);
                let lines = said.lines().filter_map(|line| line.split_once(": "));
                status.infos.extend(lines.map(|(key, value)| (key.to_owned(), value.to_owned())));
                let file = status.infos.get("File").cloned().unwrap_or_default();
                let message = format!("{file} is in {}", self.spec.backup_path);
                tell::complete(status, message, took, generation);
            }
            Some("Failed") => {
                tell::fail(status, "DataOperationFailed", said_by(pod), took, generation);
            }
            _ => status.infos.extend(held_up(pod).map(|message| ("Waiting".to_owned(), message))),
        }
    }
}

fn leaders_node(ground: &Ground) -> Option<&str> {
    let leader = ground.leader.name.split(':').next()?;
    let pod = ground.masters.iter().find(|pod| pod.name_any() == leader)?;
    pod.spec.as_ref()?.node_name.as_deref()
}

/// What a container said at its end, or why the pod has ended without.
fn said_by(pod: &Pod) -> String {
    let Some(status) = pod.status.as_ref() else { return String::new() };
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let mut ends = containers.filter_map(|one| one.state.as_ref()?.terminated.as_ref());
    let said = ends.find_map(|end| end.message.clone().filter(|text| !text.trim().is_empty()));
    let why = status.message.clone().or_else(|| status.reason.clone());
    let none = || format!("pod {} has ended without a word", pod.name_any());
    said.or(why).map_or_else(none, |text| text.trim().to_owned())
}

/// Why a pod does not run yet, when the scheduler or the kubelet says.
fn held_up(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let mut waiting = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses)
        .flatten()
        .filter_map(|one| one.state.as_ref()?.waiting.as_ref());
    unplaced(pod).or_else(|| waiting.find_map(|one| one.message.clone().or_else(|| one.reason.clone())))
}
