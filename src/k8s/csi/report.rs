//! What happens to mounts, told to the people who look at a GooseFSRuntime: events on it.
//!
//! Where there is no apiserver (the plugin by itself) only the log has it.

use goosefs_core::Error;
use goosefs_core::rpc::park::holder::Lost;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource};
use std::path::Path;
use tokio::sync::mpsc::UnboundedReceiver;

/// Namespace and name of a runtime.
pub(super) type Runtime = (String, String);

/// Tells. Cheap to clone.
#[derive(Clone)]
pub(super) struct Report {
    client: Option<(Client, Recorder)>,
    node: String,
}

impl std::fmt::Debug for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Report")
    }
}

/// The runtime whose mount lies at `point`: the controller puts it at `root/goosefs/NAMESPACE/NAME/goosefs-fuse`.
pub(super) fn runtime_at(point: &Path, root: &Path) -> Runtime {
    let mut parts = point.strip_prefix(root).into_iter().flat_map(Path::iter).skip(1);
    let mut next = || parts.next().unwrap_or_default().to_string_lossy().into_owned();
    (next(), next())
}

impl Report {
    /// `node` is where it happens.
    pub(super) async fn new(node: &str) -> Report {
        let client = match Client::try_default().await {
            Ok(client) => {
                let reporter =
                    Reporter { controller: "goosefs-csi".to_owned(), instance: Some(node.to_owned()) };
                Some((client.clone(), Recorder::new(client, reporter)))
            }
            Err(error) => {
                tracing::info!(%error, "no apiserver: what happens to mounts is told by this log alone");
                None
            }
        };
        Report { client, node: node.to_owned() }
    }

    /// Tells of every mount that is given up.
    pub(super) async fn given_up(self, mut lost: UnboundedReceiver<Lost>, root: &Path) {
        while let Some(Lost { mount_point, patience }) = lost.recv().await {
            let note = format!(
                "node {}: no FUSE process took the mount over within {patience:?}, so it has ended; its files fail until \
                 the next FUSE pod mounts it anew",
                self.node
            );
            self.event(&runtime_at(Path::new(&mount_point), root), true, "FuseMountGivenUp", note).await;
        }
    }

    /// Tells that a volume shows the runtime's new mount, or why not.
    pub(super) async fn recovered(&self, runtime: &Runtime, target: &Path, failure: Option<Error>) {
        let target = target.display();
        match failure {
            None => {
                tracing::info!(%target, "the runtime's new mount is laid over a dead one");
                let note = format!("node {}: {target} shows the new mount", self.node);
                self.event(runtime, false, "FuseRecoverSucceed", note).await;
            }
            Some(error) => {
                tracing::warn!(%target, %error, "a dead volume stays dead for now");
                let note = format!("node {}: {target}: {error}", self.node);
                self.event(runtime, true, "FuseRecoverFailed", note).await;
            }
        }
    }

    async fn event(&self, (namespace, name): &Runtime, warning: bool, reason: &str, note: String) {
        let Some((client, recorder)) = &self.client else { return };
        let kind = GroupVersionKind::gvk("data.fluid.io", "v1alpha1", "GooseFSRuntime");
        let resource = ApiResource::from_gvk(&kind);
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        let event = Event {
            type_: if warning { EventType::Warning } else { EventType::Normal },
            reason: reason.to_owned(),
            note: Some(note),
            action: "Mount".to_owned(),
            secondary: None,
        };
        let told = async {
            let runtime = api.get_metadata(name).await?;
            recorder.publish(&event, &runtime.object_ref(&resource)).await
        };
        if let Err(error) = told.await {
            tracing::warn!(%error, reason, namespace, name, "an event was not written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_names_its_runtime() {
        let of = |point: &str| runtime_at(Path::new(point), Path::new("/runtime-mnt"));
        assert_eq!(
            of("/runtime-mnt/goosefs/default/hbase/goosefs-fuse"),
            ("default".to_owned(), "hbase".to_owned())
        );
        assert_eq!(of("/elsewhere"), (String::new(), String::new()));
    }
}
