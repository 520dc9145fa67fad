//! Pod admission: the apiserver asks about pods that are labelled `fuse.serverful.fluid.io/inject: "true"` before it makes
//! them, and gets a change for each that uses a Dataset.
//!
//! Such a pod prefers nodes that cache what it reads, and its containers see a mount that is made anew on the node.
//! [`mutate`] says what is changed ([`affinity`] where it shall run), [`facts`] finds out about its Datasets, [`review`]
//! speaks with the apiserver, [`serve`] is the server. Certificates are our own: [`certificate`] makes them, [`rotation`]
//! says when, [`keep`] keeps them for all replicas. Every replica answers as soon as it has a certificate, whoever holds a
//! lease. Nothing that goes wrong here keeps a pod from being made. Started by [`super::start`].

mod affinity;
mod certificate;
mod facts;
mod keep;
mod mutate;
mod review;
mod rotation;
mod serve;

use super::Kind;
use goosefs_core::metrics::Metrics;
use goosefs_core::rpc::server::bind;
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use kube::Client;
use std::sync::Arc;

/// What admission is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the Service, the Secret and the webhook's configuration (`GOOSEFS_WEBHOOK`).
    pub name: String,
    /// Where it listens (`GOOSEFS_WEBHOOK_ADDR`).
    pub address: String,
}

/// Becomes true when pods can be admitted.
pub(super) struct Ready(serve::Shown);

impl Ready {
    /// # Errors
    /// `Cancelled` when the role ends before.
    pub(super) async fn wait(&self) -> Result<()> {
        let shown = self.0.clone().wait_for(Option::is_some).await.map(|_| ());
        shown.map_err(|_| Error::new(Code::Cancelled, "it ends before it had a certificate"))
    }
}

/// Starts to admit pods, as part of a controller.
///
/// # Errors
/// When the port cannot be had.
pub(super) async fn start(
    config: &Config,
    controller: &super::Config,
    client: &Client,
    tasks: &Tasks,
    metrics: &Metrics,
) -> Result<Ready> {
    let listener = bind("webhook", &config.address).await?;
    // A controller of runtimes alone is beside another that has Datasets, of which ours are only those with a runtime.
    let all_datasets = controller.only != Some(Kind::GooseFSRuntime);
    let facts = facts::Facts::new(client.clone(), all_datasets, tasks);
    let keeper = keep::Keeper::new(client.clone(), &controller.namespace, &config.name, metrics);
    let shown = keeper.shown();
    let reviewer = Arc::new(review::Reviewer::new(facts, metrics));
    serve::serve(listener, shown.clone(), reviewer, tasks)?;
    keeper.start(controller.holder.clone(), tasks);
    Ok(Ready(shown))
}
