//! Changes of nodes' labels. Runtimes that are reconciled beside one another share some of them (how many have a node, who
//! has it alone), so a change is made from what is there, and made again when somebody was quicker.

use super::context::{Context, api_error};
use goosefs_core::Result;
use k8s_openapi::api::core::v1::Node;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Label of nodes: how many Datasets have workers there.
pub(super) const DATASETS: &str = "fluid.io/dataset-num";

/// Tries before the reconciler is left to come again.
const TRIES: usize = 5;

/// Makes the change that `change` tells from a node's labels; a label whose value is null goes.
///
/// # Errors
/// `Busy` when others change the node all the while; else what the API server says.
pub(super) async fn relabel(
    node: &Node,
    context: &Context,
    change: impl Fn(&BTreeMap<String, String>) -> Map<String, Value>,
) -> Result<()> {
    let nodes: Api<Node> = Api::all(context.client.clone());
    let name = node.name_any();
    let mut node = node.clone();
    for left in (0..TRIES).rev() {
        let labels = change(node.labels());
        if labels.is_empty() {
            return Ok(());
        }
        let patch = json!({"metadata": {"labels": labels, "resourceVersion": node.resource_version()}});
        match nodes.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 && left > 0 => {
                // A look at one node would be a right that nothing else takes.
                let one = ListParams::default().fields(&format!("metadata.name={name}"));
                let found = nodes.list(&one).await.map_err(|error| api_error("list nodes", error))?;
                let Some(now) = found.items.into_iter().next() else { return Ok(()) };
                node = now;
            }
            Err(error) => return Err(api_error(&format!("label node {name}"), error)),
        }
    }
    Ok(())
}

/// What [`DATASETS`] is once one more has a worker there, or one less; null is none.
pub(super) fn datasets(labels: &BTreeMap<String, String>, more: i64) -> Value {
    let number: i64 = labels.get(DATASETS).and_then(|text| text.parse().ok()).unwrap_or_default();
    let number = number + more;
    if number > 0 { json!(number.to_string()) } else { Value::Null }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_dataset_of_a_node_takes_the_number_with_it() {
        let with = |number: &str| BTreeMap::from([(DATASETS.to_owned(), number.to_owned())]);
        assert_eq!(datasets(&BTreeMap::new(), 1), json!("1"));
        assert_eq!(datasets(&with("1"), 1), json!("2"));
        assert_eq!(datasets(&with("2"), -1), json!("1"));
        assert_eq!(datasets(&with("1"), -1), Value::Null);
        assert_eq!(datasets(&BTreeMap::new(), -1), Value::Null);
    }
}
