//! What there still is, asked before the controllers are uninstalled. Called by `goosefs controller uninstall-check`.

use super::Kind;
use super::context::api_error;
use crate::crd::{DataBackup, DataLoad, Dataset, GooseFSRuntime};
use goosefs_core::Result;
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// Datasets, operations on them and GooseFSRuntimes of all namespaces, `GooseFSRuntime default/hbase`; one controller's
/// with `only`.
///
/// # Errors
/// `Unavailable` when there is no apiserver, `PermissionDenied` when it does not show them.
pub async fn live_objects(only: Option<Kind>) -> Result<Vec<String>> {
    let client = Client::try_default().await.map_err(|error| api_error("find the apiserver", error))?;
    let mut all = Vec::new();
    if only != Some(Kind::GooseFSRuntime) {
        all.extend(names::<Dataset>(&client).await?);
        // They go with their Dataset, which takes a controller.
        all.extend(names::<DataLoad>(&client).await?);
        all.extend(names::<DataBackup>(&client).await?);
    }
    if only != Some(Kind::Dataset) {
        all.extend(names::<GooseFSRuntime>(&client).await?);
    }
    Ok(all)
}

/// A kind without a definition has no objects.
async fn names<K>(client: &Client) -> Result<Vec<String>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let kind = K::kind(&());
    let listed = match Api::<K>::all(client.clone()).list_metadata(&ListParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Vec::new()),
        outcome => outcome.map_err(|error| api_error(&format!("list objects of kind {kind}"), error))?,
    };
    let name = |object: &kube::core::PartialObjectMeta<K>| {
        format!("{kind} {}/{}", object.namespace().unwrap_or_default(), object.name_any())
    };
    Ok(listed.items.iter().map(name).collect())
}
