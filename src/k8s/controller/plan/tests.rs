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
        control: None,
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
    assert_eq!(arguments(&pod), ["/backup", "hbase", "default", "", "", "u"]);
}

fn by_name<'a>(list: &'a Value, name: &str) -> &'a Value {
    list.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap()
}

/// The pod that objects of this kind and name are made into.
fn pod_of(all: &[Object], kind: &str, name: &str) -> Value {
    let found = all.iter().find(|object| (object.kind(), object.name()) == (kind, name)).unwrap();
    found.0["spec"]["template"]["spec"].clone()
}

#[test]
fn a_user_who_is_not_root_is_given_what_it_writes_and_nothing_else() {
    let (dataset, mut runtime) = tutorial();
    runtime.spec.run_as =
        serde_json::from_value(json!({"uid": 1000, "gid": 2000, "user": "ann", "group": "staff"})).unwrap();
    let all = objects(&given(&dataset, &runtime)).unwrap();
    let mut owners = Vec::new();
    for (kind, name) in [("StatefulSet", "hbase-master"), ("DaemonSet", "hbase-worker")] {
        let pod = pod_of(&all, kind, name);
        let context = &pod["securityContext"];
        assert_eq!((&context["runAsUser"], &context["runAsGroup"]), (&json!(1000), &json!(2000)));
        let [owner] = pod["initContainers"].as_array().unwrap().as_slice() else { panic!("{pod}") };
        let rights = &owner["securityContext"];
        assert_eq!((&rights["runAsUser"], &rights["allowPrivilegeEscalation"]), (&json!(0), &json!(false)));
        assert_eq!(rights["capabilities"], json!({"drop": ["ALL"], "add": ["CHOWN", "DAC_OVERRIDE"]}));
        let mounts = owner["volumeMounts"].as_array().unwrap().iter();
        let mounted: Vec<Value> = mounts.map(|mount| mount["mountPath"].clone()).collect();
        assert_eq!(owner["command"].as_array().unwrap()[5..], mounted, "it has no other folders");
        owners.push((owner["command"][4].clone(), mounted));
    }
    let ours = json!("1000:2000");
    let tier = ["/opt/goosefs/socket", "/mnt/disk1/default/hbase"].map(|folder| json!(folder));
    assert_eq!(owners, [(ours.clone(), vec![json!("/journal")]), (ours, tier.to_vec())]);
    let fuse = pod_of(&all, "DaemonSet", "hbase-fuse");
    assert_eq!((&fuse["initContainers"], &fuse["securityContext"]), (&Value::Null, &Value::Null));
}

#[test]
fn all_pods_know_the_user_by_name_and_act_in_it() {
    let (dataset, mut runtime) = tutorial();
    let user = json!({"uid": 1000, "gid": 0, "user": "ann", "group": "staff"});
    runtime.spec.run_as = serde_json::from_value(user).unwrap();
    let given = given(&dataset, &runtime);
    let all = objects(&given).unwrap();
    let config = &all[0].0["data"];
    let users = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\nann:x:1000:0::/opt/goosefs:/bin/bash\n";
    assert_eq!(config["passwd"], users);
    assert_eq!(config["group"], "nogroup:x:65534:\nstaff:x:0:\n");
    for (kind, name) in
        [("StatefulSet", "hbase-master"), ("DaemonSet", "hbase-worker"), ("DaemonSet", "hbase-fuse")]
    {
        let mounts = pod_of(&all, kind, name)["containers"][0]["volumeMounts"].clone();
        let files = mounts.as_array().unwrap().iter().filter(|mount| mount["subPath"].is_string());
        let files: Vec<&Value> = files.map(|mount| &mount["mountPath"]).collect();
        assert_eq!(files, ["/etc/passwd", "/etc/group"], "{name}");
    }
    assert_eq!(files::properties(&given).unwrap()["goosefs.security.login.username"], "ann");
    assert_eq!(run_as::masters_user(&runtime), "ann");
    runtime.spec.properties.insert("goosefs.security.login.username".to_owned(), "eve".to_owned());
    assert_eq!(run_as::masters_user(&runtime), "eve");
}

#[test]
fn what_roots_pods_are_made_from_says_nothing_of_users() {
    let (dataset, mut runtime) = tutorial();
    let root = json!({"uid": 0, "gid": 0, "user": "root", "group": "root"});
    for user in [Value::Null, root] {
        runtime.spec.run_as = serde_json::from_value(user).unwrap();
        let all = objects(&given(&dataset, &runtime)).unwrap();
        assert_eq!(all[0].0["data"].as_object().unwrap().len(), 1);
        let text = format!("{all:?}");
        assert!(!text.contains("initContainers") && !text.contains("subPath") && !text.contains("login"));
        assert_eq!(run_as::masters_user(&runtime), "root");
    }
}

#[test]
fn a_backups_folder_is_made_for_its_user() {
    let (dataset, runtime) = tutorial();
    let made = |user: Value| {
        let spec = json!({"dataset": "hbase", "backupPath": "pvc://claim/a/b", "runAs": user});
        let backup =
            json!({"metadata": {"name": "daily", "namespace": "default", "uid": "b-uid"}, "spec": spec});
        backup::pod(&given(&dataset, &runtime), &serde_json::from_value(backup).unwrap(), None).unwrap()
    };
    let pod = made(json!({"uid": 7, "gid": 8, "user": "u", "group": "g"}));
    let owner = by_name(&pod.0["spec"]["initContainers"], "goosefs-owner");
    assert_eq!(owner["command"].as_array().unwrap()[4..], ["7:8", "/backup/a/b"]);
    assert_eq!(owner["volumeMounts"], json!([{"name": "backup", "mountPath": "/backup"}]));
    assert_eq!(made(Value::Null).0["spec"].get("initContainers"), None);
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
        ["/backup", rest, "hbase", "default", place, "0.0.0.0:26006", "/opt/goosefs/mounts/control.key"]
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

#[test]
fn masters_and_backups_have_the_control_key_and_workers_do_not() {
    let (dataset, runtime) = tutorial();
    let key = ControlKey::generate().unwrap();
    let given = Given { control: Some(key.clone()), ..given(&dataset, &runtime) };
    let all = objects(&given).unwrap();
    let named =
        |kind: &str, name: &str| all.iter().find(|one| one.kind() == kind && one.name() == name).unwrap();
    assert_eq!(named("Secret", "hbase-mounts").0["stringData"]["control.key"], key.text());
    let volume = |pod: &Value, name: &str| by_name(&pod["spec"]["volumes"], name)["secret"].clone();
    let pod = |kind: &str, name: &str| named(kind, name).0["spec"]["template"].clone();
    let whole = json!({"secretName": "hbase-mounts"});
    assert_eq!(volume(&pod("StatefulSet", "hbase-master"), "goosefs-mounts"), whole);
    let items = |name: &str| json!({"secretName": "hbase-mounts", "items": [{"key": name, "path": name}]});
    assert_eq!(volume(&pod("DaemonSet", "hbase-worker"), "goosefs-mounts"), items("mounts.json"));
    let spec = json!({"dataset": "hbase", "backupPath": "local:///a"});
    let backup = json!({"metadata": {"name": "daily", "namespace": "default", "uid": "b-uid"}, "spec": spec});
    let backup = backup::pod(&given, &serde_json::from_value(backup).unwrap(), Some("n1")).unwrap();
    let place = serde_json::from_value(json!({"path": "local:///a"})).unwrap();
    let offer = restore::pod(&given, &place).unwrap();
    for pod in [backup, offer] {
        assert_eq!(volume(&pod.0, "control"), items("control.key"));
    }
    assert!(
        all.iter().filter(|one| one.kind() != "Secret").all(|one| !one.0.to_string().contains(key.text()))
    );
}
