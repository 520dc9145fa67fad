//! Operations on Datasets: DataLoad and DataBackup.
//!
//! Part of the dataset controller. [`flow`] takes every operation through what all have in common: what it waits for, its
//! Dataset and the masters, its finalizer, its end. [`load`] and [`backup`] do the work, [`due`] says when a load is made
//! again, [`jobs`] asks the leader, [`tell`] finds the words. What must outlive a restart of the controller is in the
//! object's status or with the masters, which know their jobs by the names that we give them.

mod backup;
mod due;
mod flow;
mod jobs;
mod load;
mod tell;

use super::AGAIN;
use super::context::Context;
use crate::crd::{DataBackup, DataLoad, Dataset};
use flow::Operation;
use futures::StreamExt;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use std::sync::Arc;

/// Reconciles operations until the controller stops.
pub(super) async fn reconcile_all(context: Arc<Context>) {
    tokio::join!(reconcile::<DataLoad>(context.clone()), reconcile::<DataBackup>(context));
}

async fn reconcile<O: Operation>(context: Arc<Context>) {
    let (client, stop) = (context.client.clone(), context.tasks.stop());
    let everything = watcher::Config::default;
    let controller = Controller::new(Api::<O>::all(client.clone()), everything());
    let known = controller.store();
    controller
        .watches(Api::<Dataset>::all(client), everything(), move |dataset| {
            let about = |one: &Arc<O>| {
                one.dataset() == dataset.name_any()
                    && one.namespace() == dataset.namespace()
                    && !one.is_over()
            };
            let all = known.state().into_iter().filter(about);
            all.map(|one| ObjectRef::from_obj(&*one)).collect::<Vec<_>>()
        })
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(flow::reconcile::<O>, |_, _, _| Action::requeue(AGAIN), context)
        .for_each(|_outcome| std::future::ready(()))
        .await;
}
