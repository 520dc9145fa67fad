//! Which nodes get workers.

use k8s_openapi::api::core::v1::{
    Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Taint, Toleration,
};
use std::collections::{BTreeMap, BTreeSet};

/// Label of nodes whose workers share them with no other Dataset.
pub(crate) const EXCLUSIVE: &str = "fluid_exclusive";

/// What a node must be to get a worker.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// Number of workers.
    pub(crate) replicas: usize,
    /// Key of the label of nodes that have one.
    pub(crate) label: String,
    /// `namespace_name`: value of [`EXCLUSIVE`], when the Dataset shares with nobody.
    pub(crate) exclusive: Option<String>,
    /// Labels that a node must have.
    pub(crate) selector: &'a BTreeMap<String, String>,
    /// The Dataset's node affinity.
    pub(crate) affinity: Option<&'a NodeSelector>,
    /// Taints that do not matter.
    pub(crate) tolerations: Vec<Toleration>,
}

/// The nodes that shall have workers: those that have one first, then by name. Fewer than wanted when no more fit.
pub(crate) fn choose(nodes: &[Node], wanted: &Wanted<'_>) -> BTreeSet<String> {
    let mut fitting: Vec<(bool, String)> = nodes
        .iter()
        .filter_map(|node| {
            let name = node.metadata.name.clone()?;
            let has = labels(node).get(&wanted.label).is_some_and(|value| value == "true");
            let fine = match has {
                // A node that is away for a while, or cordoned, keeps what it caches.
                true => matches(node, wanted),
                false => {
                    is_ready(node) && !is_cordoned(node) && matches(node, wanted) && is_free(node, wanted)
                }
            };
            fine.then_some((!has, name))
        })
        .collect();
    fitting.sort();
    fitting.into_iter().take(wanted.replicas).map(|(_, name)| name).collect()
}

fn labels(node: &Node) -> &BTreeMap<String, String> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    node.metadata.labels.as_ref().unwrap_or(&NONE)
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn is_cordoned(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true)
}

fn is_free(node: &Node, wanted: &Wanted<'_>) -> bool {
    let labels = labels(node);
    match (&wanted.exclusive, labels.get(EXCLUSIVE)) {
        (Some(own), Some(owner)) => own == owner,
        (None, Some(_)) => false,
        (Some(_), None) => !labels.contains_key("fluid.io/dataset-num"),
        (None, None) => true,
    }
}

fn matches(node: &Node, wanted: &Wanted<'_>) -> bool {
    let labels = labels(node);
    let selected = wanted.selector.iter().all(|(key, value)| labels.get(key) == Some(value));
    let liked = wanted
        .affinity
        .is_none_or(|affinity| affinity.node_selector_terms.iter().any(|term| term_matches(node, term)));
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    let tolerated = taints.into_iter().flatten().all(|taint| {
        // Those that Kubernetes sets for a while are not the node's nature.
        let passing = taint.key.starts_with("node.kubernetes.io/");
        taint.effect == "PreferNoSchedule"
            || passing
            || wanted.tolerations.iter().any(|one| tolerates(one, taint))
    });
    selected && liked && tolerated
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_ref().is_none_or(|effect| effect.is_empty() || *effect == taint.effect);
    let key = toleration.key.as_deref().unwrap_or_default();
    let exists = toleration.operator.as_deref() == Some("Exists");
    let value = exists
        || toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default();
    effect && value && ((key.is_empty() && exists) || key == taint.key)
}

fn term_matches(node: &Node, term: &NodeSelectorTerm) -> bool {
    let name = BTreeMap::from([("metadata.name".to_owned(), node.metadata.name.clone().unwrap_or_default())]);
    let expressions = term.match_expressions.iter().flatten();
    let fields = term.match_fields.iter().flatten();
    let some = term.match_expressions.is_some() || term.match_fields.is_some();
    some && expressions.into_iter().all(|one| requirement(labels(node), one))
        && fields.into_iter().all(|one| requirement(&name, one))
}

fn requirement(labels: &BTreeMap<String, String>, one: &NodeSelectorRequirement) -> bool {
    let value = labels.get(&one.key);
    let values = one.values.as_deref().unwrap_or_default();
    let number = |text: &String| text.parse::<i64>().ok();
    let bound = values.first().and_then(number);
    match one.operator.as_str() {
        "In" => value.is_some_and(|value| values.contains(value)),
        "NotIn" => value.is_none_or(|value| !values.contains(value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => value.and_then(number).zip(bound).is_some_and(|(value, bound)| value > bound),
        "Lt" => value.and_then(number).zip(bound).is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str, labels: serde_json::Value, spec: serde_json::Value, ready: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": labels}, "spec": spec,
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap()
    }

    fn chosen(nodes: &[Node], replicas: usize, exclusive: bool) -> Vec<String> {
        let selector = BTreeMap::new();
        let exclusive = exclusive.then(|| "default_hbase".to_owned());
        let wanted = Wanted {
            replicas,
            label: "w".to_owned(),
            exclusive,
            selector: &selector,
            affinity: None,
            tolerations: Vec::new(),
        };
        choose(nodes, &wanted).into_iter().collect()
    }

    #[test]
    fn nodes_that_have_a_worker_keep_it() {
        let nodes = [
            node("a", json!({}), json!({}), "True"),
            node("b", json!({"w": "true"}), json!({"unschedulable": true}), "False"),
            node("c", json!({}), json!({}), "True"),
        ];
        assert_eq!(chosen(&nodes, 2, false), ["a", "b"]);
        assert_eq!(chosen(&nodes, 1, false), ["b"]);
        assert_eq!(chosen(&nodes, 9, false), ["a", "b", "c"]);
    }

    #[test]
    fn nodes_that_do_not_fit_get_none() {
        let nodes = [
            node("away", json!({}), json!({}), "False"),
            node("cordoned", json!({}), json!({"unschedulable": true}), "True"),
            node("tainted", json!({}), json!({"taints": [{"key": "gpu", "effect": "NoSchedule"}]}), "True"),
            node("taken", json!({EXCLUSIVE: "default_other"}), json!({}), "True"),
            node("fine", json!({}), json!({}), "True"),
        ];
        assert_eq!(chosen(&nodes, 3, true), ["fine"]);
        assert_eq!(chosen(&nodes, 3, false), ["fine"]);
    }
}
