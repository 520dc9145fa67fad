use super::*;

fn pod(labels: Value, spec: Value) -> Sent {
    Sent::new(json!({"metadata": {"generateName": "app-", "labels": labels}, "spec": spec})).unwrap()
}

fn reader(more_labels: &[(&str, &str)]) -> Sent {
    let mut labels = json!({INJECT: "true"});
    for (key, value) in more_labels {
        labels[key] = json!(value);
    }
    let mount = json!([{"name": "data", "mountPath": "/data"}]);
    pod(
        labels,
        json!({
            "containers": [{"name": "app", "image": "app", "volumeMounts": mount}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "hbase"}}],
        }),
    )
}

fn used(name: &str) -> Used {
    Used { name: name.to_owned(), label: format!("fluid.io/s-default-{name}"), ..Used::default() }
}

/// The pod after the change, which must be stable: done again it changes nothing.
fn after(sent: &Sent, used: &[Used]) -> Value {
    let mut raw = sent.raw.clone();
    json_patch::patch(&mut raw, &mutate(sent, used).patch).unwrap();
    let again = mutate(&Sent::new(raw.clone()).unwrap(), used);
    assert!(again.patch.0.is_empty(), "a second time changes {}", json!(again.patch));
    raw
}

fn preferred(pod: &Value) -> Vec<(i64, String)> {
    let terms = &pod["spec"]["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"];
    let terms = terms.as_array().into_iter().flatten();
    terms.map(|term| (term["weight"].as_i64().unwrap(), expressions(&term["preference"]))).collect()
}

fn required_terms(pod: &Value) -> Vec<String> {
    let own = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    own["nodeSelectorTerms"].as_array().into_iter().flatten().map(expressions).collect()
}

fn expressions(term: &Value) -> String {
    let all = term["matchExpressions"].as_array().into_iter().flatten();
    let text = |one: &Value| {
        let values: Vec<&str> =
            one["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        format!("{} {} {}", one["key"].as_str().unwrap(), one["operator"].as_str().unwrap(), values.join(","))
            .trim_end()
            .to_owned()
    };
    all.map(text).collect::<Vec<_>>().join(" and ")
}

fn propagation(pod: &Value, kind: &str, container: usize, mount: usize) -> Value {
    pod["spec"][kind][container]["volumeMounts"][mount]["mountPropagation"].clone()
}

#[test]
fn only_labelled_pods_that_are_not_taken_out_are_wanted() {
    let wanted = |labels: Value| pod(labels, json!({"containers": []})).is_wanted();
    assert!(wanted(json!({INJECT: "true"})));
    assert!(wanted(json!({INJECT: "true", ENABLED: "true"})));
    assert!(!wanted(json!({INJECT: "true", ENABLED: "false"})));
    assert!(!wanted(json!({INJECT: "false"})));
    assert!(!wanted(json!({"serverless.fluid.io/inject": "true"})));
    assert!(!wanted(Value::Null));
}

#[test]
fn a_reader_prefers_the_nodes_that_cache_then_their_zone_then_their_region() {
    let text = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
    let hbase = Used { zones: text(&["a", "b"]), regions: text(&["r"]), ..used("hbase") };
    let seen = after(&reader(&[]), &[hbase]);
    let expected = [
        (100, "fluid.io/s-default-hbase In true"),
        (50, "topology.kubernetes.io/zone In a,b"),
        (20, "topology.kubernetes.io/region In r"),
    ];
    assert_eq!(preferred(&seen), expected.map(|(weight, text)| (weight, text.to_owned())));
    assert!(required_terms(&seen).is_empty());
    assert_eq!(propagation(&seen, "containers", 0, 0), "HostToContainer");
    assert_eq!(seen["metadata"]["annotations"][IN_USE], "hbase");
}

#[test]
fn what_the_pod_says_of_zones_itself_counts() {
    let hbase = Used { zones: BTreeSet::from(["a".to_owned()]), ..used("hbase") };
    let mut own = reader(&[]).raw;
    own["spec"]["nodeSelector"] = json!({ZONE.0: "b"});
    let seen = after(&Sent::new(own).unwrap(), std::slice::from_ref(&hbase));
    assert_eq!(preferred(&seen), [(100, "fluid.io/s-default-hbase In true".to_owned())]);
    let mut own = reader(&[]).raw;
    let zone = json!({"matchExpressions": [{"key": ZONE.0, "operator": "NotIn", "values": ["a"]}]});
    own["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
        json!({"nodeSelectorTerms": [zone]});
    let seen = after(&Sent::new(own).unwrap(), &[hbase]);
    assert_eq!(preferred(&seen), [(100, "fluid.io/s-default-hbase In true".to_owned())]);
}

#[test]
fn a_label_makes_the_nodes_that_cache_required_besides_what_the_pod_requires() {
    let sent = reader(&[("fluid.io/dataset.hbase.sched", "required")]);
    let seen = after(&sent, &[used("hbase")]);
    assert_eq!(required_terms(&seen), ["fluid.io/s-default-hbase In true"]);
    assert!(preferred(&seen).is_empty());
    let mut own = sent.raw;
    own["spec"]["affinity"] = json!({
        "podAntiAffinity": {"kept": true},
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "gpu", "operator": "Exists"}]},
            {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]},
        ]}},
    });
    let seen = after(&Sent::new(own).unwrap(), &[used("hbase")]);
    assert_eq!(
        required_terms(&seen),
        [
            "gpu Exists and fluid.io/s-default-hbase In true",
            "disk In ssd and fluid.io/s-default-hbase In true"
        ]
    );
    assert_eq!(seen["spec"]["affinity"]["podAntiAffinity"]["kept"], true, "what we do not know stays");
}

#[test]
fn a_requirement_of_a_dataset_that_the_pod_has_not_is_said() {
    let sent = reader(&[("fluid.io/dataset.hbas.sched", "required")]);
    let change = mutate(&sent, &[used("hbase")]);
    let [warning] = change.warnings.as_slice() else { panic!("one warning, not {:?}", change.warnings) };
    assert!(warning.contains("fluid.io/dataset.hbas.sched"), "{warning}");
    let seen = after(&sent, &[used("hbase")]);
    assert_eq!(preferred(&seen).len(), 1, "the Dataset that it has is preferred");
}

#[test]
fn a_pod_of_several_datasets_gets_the_terms_of_each() {
    let mut own = reader(&[("fluid.io/dataset.spark.sched", "required")]).raw;
    own["metadata"]["annotations"] = json!({IN_USE: "zeta", "other": "stays"});
    own["spec"]["volumes"] = json!([
        {"name": "data", "persistentVolumeClaim": {"claimName": "hbase"}},
        {"name": "more", "persistentVolumeClaim": {"claimName": "spark"}},
        {"name": "foreign", "persistentVolumeClaim": {"claimName": "home"}},
        {"name": "scratch", "emptyDir": {}},
    ]);
    own["spec"]["containers"][0]["volumeMounts"] =
        json!(["data", "more", "foreign", "scratch"].map(|name| json!({"name": name, "mountPath": "/"})));
    let mut spark = used("spark");
    spark.fuse_nodes.insert("fuse".to_owned(), "yes".to_owned());
    let seen = after(&Sent::new(own).unwrap(), &[used("hbase"), spark]);
    assert_eq!(preferred(&seen), [(100, "fluid.io/s-default-hbase In true".to_owned())]);
    assert_eq!(required_terms(&seen), ["fuse In yes and fluid.io/s-default-spark In true"]);
    let of = |mount| propagation(&seen, "containers", 0, mount);
    assert_eq!(
        [of(0), of(1), of(2), of(3)],
        [json!("HostToContainer"), json!("HostToContainer"), Value::Null, Value::Null]
    );
    assert_eq!(seen["metadata"]["annotations"], json!({IN_USE: "hbase,spark,zeta", "other": "stays"}));
}

#[test]
fn mounts_reach_all_containers_that_do_not_say_something_else() {
    let mut own = reader(&[]).raw;
    let mounts = json!([
        {"name": "data", "mountPath": "/a"},
        {"name": "data", "mountPath": "/b", "subPath": "hbase/stable"},
        {"name": "data", "mountPath": "/c", "mountPropagation": "None"},
        {"name": "data", "mountPath": "/d", "mountPropagation": "Bidirectional"},
        {"name": "data", "mountPath": "/e", "readOnly": true, "recursiveReadOnly": "IfPossible"},
        {"name": "data", "mountPath": "/f", "readOnly": true, "recursiveReadOnly": "Disabled"},
        {"name": "absent", "mountPath": "/g"},
    ]);
    own["spec"]["initContainers"] = json!([{"name": "first"}, {"name": "second", "volumeMounts": mounts}]);
    own["spec"]["containers"] = json!([{"name": "bare"}, {"name": "app", "volumeMounts": mounts}]);
    let seen = after(&Sent::new(own).unwrap(), &[used("hbase")]);
    for kind in ["initContainers", "containers"] {
        let of = |mount| propagation(&seen, kind, 1, mount);
        let (gets, own) = (json!("HostToContainer"), |text: &str| json!(text));
        assert_eq!(
            [of(0), of(1), of(2), of(3), of(4), of(5), of(6)],
            [gets.clone(), gets.clone(), own("None"), own("Bidirectional"), Value::Null, gets, Value::Null],
            "{kind}"
        );
        assert!(seen["spec"][kind][0].get("volumeMounts").is_none());
    }
}

#[test]
fn a_pod_without_a_dataset_leaves_nodes_that_cache_to_others() {
    let sent = reader(&[]);
    let seen = after(&sent, &[]);
    assert_eq!(preferred(&seen), [(50, "fluid.io/dataset-num DoesNotExist".to_owned())]);
    assert!(seen["metadata"].get("annotations").is_none());
    assert_eq!(propagation(&seen, "containers", 0, 0), Value::Null);
}

#[test]
fn what_is_no_pod_is_refused() {
    let error = Sent::new(json!({"spec": {"affinity": "near"}})).unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument);
    let only_labels = Sent::new(json!({"metadata": {"labels": {INJECT: "true"}}})).unwrap();
    assert!(mutate(&only_labels, &[used("hbase")]).warnings.is_empty());
}
