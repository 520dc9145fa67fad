//! Node affinity of a pod, added to what the pod itself asks for. Pure.
//!
//! Called by [`super::mutate`]. Adding what is there already changes nothing.

use k8s_openapi::api::core::v1::{
    NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PreferredSchedulingTerm,
};

/// A label that has one of some values.
pub(super) fn one_of(label: &str, values: Vec<String>) -> NodeSelectorRequirement {
    NodeSelectorRequirement { key: label.to_owned(), operator: "In".to_owned(), values: Some(values) }
}

/// A label that is not there.
pub(super) fn absent(label: &str) -> NodeSelectorRequirement {
    NodeSelectorRequirement { key: label.to_owned(), operator: "DoesNotExist".to_owned(), values: None }
}

/// Whether the pod says something about a label itself.
pub(super) fn mentions(affinity: &NodeAffinity, label: &str) -> bool {
    let required = affinity.required_during_scheduling_ignored_during_execution.iter();
    let preferred = affinity.preferred_during_scheduling_ignored_during_execution.iter().flatten();
    let mut terms =
        required.flat_map(|all| &all.node_selector_terms).chain(preferred.map(|term| &term.preference));
    terms.any(|term| term.match_expressions.iter().flatten().any(|one| one.key == label))
}

/// A node with `expression` counts for `weight`, from 1 to 100, unless the pod says so already, whatever the weight.
pub(super) fn prefer(affinity: &mut NodeAffinity, weight: i32, expression: NodeSelectorRequirement) {
    let preference = NodeSelectorTerm { match_expressions: Some(vec![expression]), match_fields: None };
    let terms = affinity.preferred_during_scheduling_ignored_during_execution.get_or_insert_default();
    if !terms.iter().any(|term| term.preference == preference) {
        terms.push(PreferredSchedulingTerm { weight, preference });
    }
}

/// Only nodes with `expression` will do, besides what the pod asks for itself. One of a pod's terms has to match, so each
/// gets the expression; a term that is empty matches no node and stays so.
pub(super) fn require(affinity: &mut NodeAffinity, expression: &NodeSelectorRequirement) {
    let Some(own) = &mut affinity.required_during_scheduling_ignored_during_execution else {
        let term = NodeSelectorTerm { match_expressions: Some(vec![expression.clone()]), match_fields: None };
        let selector = NodeSelector { node_selector_terms: vec![term] };
        affinity.required_during_scheduling_ignored_during_execution = Some(selector);
        return;
    };
    for term in &mut own.node_selector_terms {
        let fields = term.match_fields.as_ref().is_some_and(|all| !all.is_empty());
        let expressions = term.match_expressions.get_or_insert_default();
        if (fields || !expressions.is_empty()) && !expressions.contains(expression) {
            expressions.push(expression.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn affinity(value: Value) -> NodeAffinity {
        serde_json::from_value(value).unwrap()
    }

    fn cached() -> NodeSelectorRequirement {
        one_of("fluid.io/s-default-hbase", vec!["true".to_owned()])
    }

    #[test]
    fn each_term_of_a_pod_gets_what_is_required_but_an_empty_one() {
        let mut own =
            affinity(json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "disk", "operator": "Exists"}]},
                {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]},
                {},
            ]}}));
        require(&mut own, &cached());
        let terms = own.required_during_scheduling_ignored_during_execution.as_ref().unwrap();
        let keys = |number: usize| -> Vec<&str> {
            let all = terms.node_selector_terms[number].match_expressions.iter().flatten();
            all.map(|one| one.key.as_str()).collect()
        };
        assert_eq!(keys(0), ["disk", "fluid.io/s-default-hbase"]);
        assert_eq!(keys(1), ["fluid.io/s-default-hbase"]);
        assert!(keys(2).is_empty(), "a term that matches no node must not begin to match some");
        let before = own.clone();
        require(&mut own, &cached());
        assert_eq!(own, before, "a second time changes nothing");
    }

    #[test]
    fn what_a_pod_prefers_stays_and_counts_as_it_says() {
        let mut own = affinity(json!({"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 7, "preference": {"matchExpressions": [cached()]}},
        ]}));
        prefer(&mut own, 100, cached());
        prefer(&mut own, 50, absent("fluid.io/dataset-num"));
        let terms = own.preferred_during_scheduling_ignored_during_execution.unwrap();
        assert_eq!(terms.iter().map(|term| term.weight).collect::<Vec<_>>(), [7, 50]);
    }

    #[test]
    fn a_label_is_mentioned_wherever_it_stands() {
        let zone = json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]});
        let required =
            json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [zone]}});
        let preferred =
            json!({"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": zone}]});
        assert!(mentions(&affinity(required), "zone"));
        assert!(mentions(&affinity(preferred.clone()), "zone"));
        assert!(!mentions(&affinity(preferred), "region"));
    }
}
