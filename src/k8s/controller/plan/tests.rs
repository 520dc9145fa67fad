//! What the tutorial's two objects become.

use super::*;

fn given<'a>(dataset: &'a Dataset, runtime: &'a GooseFSRuntime) -> Given<'a> {
    Given {
        names: Names::new("default", "hbase", "d-uid"),
        dataset,
        runtime,
        image: "goosefs:1",
        ports: Ports::default(),
        driver: "fuse.csi.fluid.io",
        masters: masters_of(runtime),
        master_pods: masters_of(runtime),
        durable: false,
        cluster_id: "r-uid".to_owned(),
        epoch: 1,
        bootstrap: true,
        restore: None,
        force: None,
        mounts: Mounts::new(dataset, &mounts::Secrets::new(), None),
        config_mark: "m".to_owned(),
    }
}

fn tutorial() -> (Dataset, GooseFSRuntime) {
    let dataset = json!({"metadata": {"name": "hbase", "namespace": "default", "uid": "d-uid"}, "spec": {
        "mounts": [{"mountPoint": "https://mirror/hbase/", "name": "hbase"}]}});
    let runtime = json!({"metadata": {"name": "hbase", "namespace": "default", "uid": "r-uid"}, "spec": {
        "replicas": 3,
        "tieredstore": {"levels": [{"mediumtype": "HDD", "path": "/mnt/disk1", "quota": "2G", "high": "0.8", "low": "0.7"}]},
        "master": {"replicas": 3}}});
    (serde_json::from_value(dataset).unwrap(), serde_json::from_value(runtime).unwrap())
}

#[test]
fn the_tutorial_has_these_objects() {
    let (dataset, runtime) = tutorial();
    let all = objects(&given(&dataset, &runtime)).unwrap();
    let list: Vec<String> = all.iter().map(|object| format!("{} {}", object.kind(), object.name())).collect();
    let expected = [
        "ConfigMap hbase-config",
        "ConfigMap hbase-cluster",
        "Secret hbase-mounts",
        "Service hbase-master",
        "Service hbase-master-0",
        "Service hbase-master-1",
        "Service hbase-master-2",
        "PodDisruptionBudget hbase-master",
        "StatefulSet hbase-master",
        "DaemonSet hbase-worker",
        "DaemonSet hbase-fuse",
        "PersistentVolume default-hbase",
        "PersistentVolumeClaim hbase",
    ];
    assert_eq!(list, expected);
}

#[test]
fn the_files_of_pods_say_what_was_asked_for() {
    let (dataset, runtime) = tutorial();
    let given = given(&dataset, &runtime);
    let properties = files::properties(&given).unwrap();
    assert_eq!(
        properties["goosefs.master.rpc.addresses"],
        "hbase-master-0:26000,hbase-master-1:26000,hbase-master-2:26000"
    );
    assert_eq!(properties["goosefs.worker.tieredstore.level0.dirs.path"], "/mnt/disk1/default/hbase");
    assert_eq!(properties["goosefs.worker.tieredstore.level0.dirs.quota"], (2_u64 << 30).to_string());
    assert_eq!(properties["goosefs.worker.tieredstore.level0.watermark.high.ratio"], "0.8");
    assert_eq!(
        files::cluster(&given),
        json!({"clusterId": "r-uid", "epoch": 1, "bootstrap": true,
            "masters": ["hbase-master-0:26002", "hbase-master-1:26002", "hbase-master-2:26002"]})
    );
}

#[test]
fn more_masters_make_no_pod_anew_but_a_property_does() {
    let (dataset, mut runtime) = tutorial();
    let before = config_mark(&given(&dataset, &runtime)).unwrap();
    runtime.spec.master.as_mut().unwrap().replicas = Some(5);
    assert_eq!(config_mark(&given(&dataset, &runtime)).unwrap(), before);
    runtime.spec.properties.insert("goosefs.logs.level".to_owned(), "debug".to_owned());
    assert_ne!(config_mark(&given(&dataset, &runtime)).unwrap(), before);
}

#[test]
fn the_last_pod_on_a_node_takes_away_the_runtimes_folders_only() {
    let (dataset, runtime) = tutorial();
    let given = given(&dataset, &runtime);
    let pod = wipe::pod(&given, "n1", true).unwrap();
    assert_eq!(pod.0["spec"]["nodeName"], "n1");
    assert_eq!(command(&pod)[4..], ["default", "hbase", "/wipe/sockets", "/wipe/tier-0-0"]);
    let volumes = pod.0["spec"]["volumes"].as_array().unwrap();
    assert!(volumes.iter().any(|volume| volume["hostPath"]["path"] == "/mnt/disk1"), "{volumes:?}");
    let elsewhere = wipe::pod(&given, "n2", false).unwrap();
    assert_eq!(command(&elsewhere)[4..], ["default", "hbase", "/wipe/sockets"]);
    assert_ne!(elsewhere.name(), pod.name());
    let moved = wipe::elsewhere(&pod, "default", "fluid-system");
    assert_eq!(
        (moved.name(), moved.namespace()),
        (&*format!("default-{}", pod.name()), Some("fluid-system"))
    );
    assert_eq!(moved.0["metadata"]["ownerReferences"], Value::Null);
    assert_eq!(moved.0["spec"], pod.0["spec"]);
}

fn command(pod: &Object) -> Vec<&str> {
    let command = pod.0["spec"]["containers"][0]["command"].as_array().unwrap();
    command.iter().map(|part| part.as_str().unwrap()).collect()
}

#[test]
fn a_mount_is_ended_where_its_holders_are() {
    let (dataset, runtime) = tutorial();
    let pod = wipe::unmount_pod(&given(&dataset, &runtime), "n1");
    let point = "/runtime-mnt/goosefs/default/hbase/goosefs-fuse";
    let holders = ["--holder=/runtime-mnt/.goosefs/holder.sock", "--holder=/opt/goosefs/socket/holder.sock"];
    assert_eq!(command(&pod)[4..], [&["default", "hbase", point][..], &holders].concat());
    let mounts = pod.0["spec"]["containers"][0]["volumeMounts"].as_array().unwrap();
    let root = mounts.iter().find(|mount| mount["mountPath"] == "/runtime-mnt").unwrap();
    assert_eq!(root["mountPropagation"], "Bidirectional");
}

#[test]
fn fuse_pods_are_made_anew_with_whatever_they_are_made_from() {
    let (dataset, mut runtime) = tutorial();
    let mark = |runtime: &GooseFSRuntime, config: &str| {
        let given = Given { config_mark: config.to_owned(), ..given(&dataset, runtime) };
        fuse::template_mark(&fuse::daemon_set(&given)).to_owned()
    };
    let first = mark(&runtime, "m");
    assert_eq!(first, mark(&runtime, "m"));
    assert_ne!(first, mark(&runtime, "n"), "with properties");
    runtime.spec.fuse = Some(crate::crd::Fuse { image: Some("other".to_owned()), ..Default::default() });
    assert_ne!(first, mark(&runtime, "m"), "with the image");
}

fn arguments(pod: &Object) -> Vec<&str> {
    let command = pod.0["spec"]["containers"][0]["command"].as_array().unwrap();
    command[4..].iter().map(|part| part.as_str().unwrap()).collect()
}

fn mounted(pod: &Object) -> &Value {
    let volumes = pod.0["spec"]["volumes"].as_array().unwrap();
    volumes.iter().find(|volume| volume["name"] == "backup").unwrap()
}

#[test]
fn a_backup_goes_to_a_claim_or_to_the_leaders_node() {
    let (dataset, mut runtime) = tutorial();
    let made = |path: &str, runtime: &GooseFSRuntime| {
        let spec = json!({"dataset": "hbase", "backupPath": path});
        let backup =
            json!({"metadata": {"name": "daily", "namespace": "default", "uid": "b-uid"}, "spec": spec});
        backup::pod(&given(&dataset, runtime), &serde_json::from_value(backup).unwrap(), Some("n1")).unwrap()
    };
    let pod = made("pvc://claim/a/b", &runtime);
    assert_eq!((pod.name(), pod.0["spec"].get("nodeName")), ("daily-pod", None));
    assert_eq!(mounted(&pod)["persistentVolumeClaim"]["claimName"], "claim");
    assert_eq!(arguments(&pod), ["/backup/a/b", "hbase", "default", "", "", "root"]);
    let owner = &pod.0["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["uid"]), (&json!("DataBackup"), &json!("b-uid")));
    runtime.spec.run_as =
        serde_json::from_value(json!({"uid": 7, "gid": 7, "user": "u", "group": "g"})).unwrap();
    let pod = made("local:///a", &runtime);
    assert_eq!(pod.0["spec"]["nodeName"], "n1");
    assert_eq!(mounted(&pod)["hostPath"]["path"], "/a");
    assert_eq!(arguments(&pod), ["/backup", "hbase", "default", "", "", "7"]);
}

#[test]
fn the_pod_that_offers_a_backup_has_its_folder() {
    let (dataset, runtime) = tutorial();
    let of = |path: &str| {
        let location = json!({"path": path, "nodeName": "n2"});
        restore::pod(&given(&dataset, &runtime), &serde_json::from_value(location).unwrap()).unwrap()
    };
    let pod = of("pvc://claim/a");
    assert_eq!((pod.name(), pod.0["spec"].get("nodeName")), ("hbase-restore", None));
    assert_eq!(mounted(&pod)["persistentVolumeClaim"]["readOnly"], true);
    let arguments_of = |rest: &'static str, place: &'static str| {
        ["/backup", rest, "hbase", "default", place, "0.0.0.0:26006"]
    };
    assert_eq!(arguments(&pod), arguments_of("a", "pvc://claim/a"));
    let pod = of("local:///a/one.gz");
    assert_eq!(
        (&pod.0["spec"]["nodeName"], &mounted(&pod)["hostPath"]["path"]),
        (&json!("n2"), &json!("/a"))
    );
    assert_eq!(arguments(&pod), arguments_of("one.gz", "local:///a/one.gz"));
    assert_eq!(mounted(&of("local:///a"))["hostPath"]["path"], "/a");
    let is = |made_for: &str, asked_for: &str| {
        let pod = serde_json::from_value(of(made_for).0).unwrap();
        let location = json!({"path": asked_for, "nodeName": "n2"});
        restore::is_stale(&pod, &serde_json::from_value(location).unwrap())
    };
    assert!(!is("local:///a", "local:///a") && is("local:///a", "local:///b"));
    let mut given = given(&dataset, &runtime);
    given.restore = Some("10.0.0.7:26006".to_owned());
    assert_eq!(files::cluster(&given)["restore"], "10.0.0.7:26006");
}
