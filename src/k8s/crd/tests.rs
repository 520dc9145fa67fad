//! The definitions against their files in the chart, against what Fluid has, and against the rules said in Rust.

use super::*;
use kube::ResourceExt;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/goosefs/files/crds")
}

/// `GOOSEFS_BLESS=1 cargo test -p goosefs-k8s` writes the files anew.
#[test]
fn the_chart_has_the_definitions_that_the_types_give() {
    let bless = std::env::var_os("GOOSEFS_BLESS").is_some();
    for definition in definitions().unwrap() {
        let (file, text) = (chart().join(file_name(&definition)), yaml(&definition).unwrap());
        if bless {
            std::fs::create_dir_all(chart()).unwrap();
            std::fs::write(&file, &text).unwrap();
        }
        let kept = std::fs::read_to_string(&file).unwrap();
        assert!(kept == text, "{} differs: GOOSEFS_BLESS=1 cargo test -p goosefs-k8s crd", file.display());
    }
}

fn schema(kind: &str) -> Value {
    let definition =
        definitions().unwrap().into_iter().find(|definition| definition.spec.names.kind == kind).unwrap();
    serde_json::to_value(&definition.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema).unwrap()
}

/// The schema of a field, by a path such as `spec.tieredstore.levels[].quota`; `{}` are values of a map.
fn field<'a>(schema: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(schema, |schema, part| {
        let name = part.trim_end_matches("[]").trim_end_matches("{}");
        let child = schema.get("properties")?.get(name)?;
        match part.strip_prefix(name)? {
            "[]" => child.get("items"),
            "{}" => child.get("additionalProperties"),
            _ => Some(child),
        }
    })
}

/// Paths of Fluid v1.0.8's kinds, from its api/v1alpha1.
const FLUID: &[(&str, &str)] = &[
    ("GooseFSRuntime", include_str!("fluid/goosefsruntime.txt")),
    ("Dataset", include_str!("fluid/dataset.txt")),
    ("DataLoad", include_str!("fluid/dataload.txt")),
    ("DataBackup", include_str!("fluid/databackup.txt")),
];

#[test]
fn every_field_that_fluid_has_is_there() {
    for (kind, paths) in FLUID {
        let schema = schema(kind);
        for path in paths.lines().filter(|line| !line.is_empty()) {
            let (path, type_) = path.split_once(' ').unwrap();
            let ours = field(&schema, path).unwrap_or_else(|| panic!("{kind} has no {path}"));
            let is = match ours.get("x-kubernetes-int-or-string") {
                Some(_) => "quantity",
                None => ours["type"].as_str().unwrap_or("any"),
            };
            assert_eq!(is, type_, "{kind} {path}");
        }
    }
}

#[test]
fn enums_and_defaults_are_those_of_fluid() {
    let runtime = schema("GooseFSRuntime");
    let of = |path: &str, key: &str| field(&runtime, path).unwrap()[key].clone();
    assert_eq!(of("spec.tieredstore.levels[].mediumtype", "enum"), json!(["MEM", "SSD", "HDD"]));
    assert_eq!(of("spec.tieredstore.levels[].volumeType", "default"), json!("hostPath"));
    assert_eq!(of("spec.cleanCachePolicy.gracePeriodSeconds", "default"), json!(60));
    assert_eq!(of("spec.cleanCachePolicy.maxRetryAttempts", "default"), json!(3));
    assert_eq!(of("spec.tieredstore.levels[]", "required"), json!(["mediumtype"]));
    assert_eq!(of("spec.runAs", "required"), json!(["gid", "group", "uid", "user"]));
    let dataset = schema("Dataset");
    let of = |path: &str, key: &str| field(&dataset, path).unwrap()[key].clone();
    assert_eq!(of("spec.placement", "enum"), json!(["", "Exclusive", "Shared"]));
    assert_eq!(of("spec.mounts", "minItems"), json!(1));
    assert_eq!(of("spec.mounts[]", "required"), json!(["mountPoint"]));
    let load = schema("DataLoad");
    let of = |path: &str, key: &str| field(&load, path).unwrap()[key].clone();
    assert_eq!(of("spec.policy", "enum"), json!(["Once", "Cron", "OnEvent"]));
    assert_eq!(of("spec.policy", "default"), json!("Once"));
    assert_eq!(of("spec.dataset", "required"), json!(["name"]));
    assert_eq!(of("spec.target[]", "required"), json!(["path"]));
    assert_eq!(of("spec.runAfter", "required"), json!(["kind", "name"]));
    let kinds = json!(["DataLoad", "DataBackup", "DataMigrate", "DataProcess"]);
    assert_eq!(of("spec.runAfter.kind", "enum"), kinds);
    let backup = schema("DataBackup");
    assert_eq!(field(&backup, "spec.runAs").unwrap()["required"], json!(["gid", "group", "uid", "user"]));
}

/// As `kubectl get load` and `kubectl get backup` show them.
#[test]
fn operations_have_fluids_names_and_columns() {
    let of = |kind: &str| {
        let all = definitions().unwrap();
        let one = all.into_iter().find(|definition| definition.spec.names.kind == kind).unwrap();
        let columns = one.spec.versions[0].additional_printer_columns.clone().unwrap_or_default();
        let shown = columns.into_iter().filter(|column| column.priority.unwrap_or_default() == 0);
        let shown: Vec<String> = shown.map(|column| column.name).collect();
        assert!(one.spec.versions[0].subresources.as_ref().unwrap().status.is_some(), "{kind}");
        assert_eq!(one.spec.names.categories, Some(vec!["fluid".to_owned()]));
        (one.spec.names.short_names.unwrap_or_default().join(","), shown.join(" "))
    };
    assert_eq!(of("DataLoad"), ("load".into(), "Dataset Phase Age Duration".into()));
    assert_eq!(of("DataBackup"), ("backup".into(), "Dataset Phase Path NodeName Duration Age".into()));
}

#[test]
fn what_is_wrong_with_an_operation_is_named() {
    let made = |kind: &str, spec: Value| {
        json!({"apiVersion": "data.fluid.io/v1alpha1", "kind": kind,
        "metadata": {"name": "one", "namespace": "default"}, "spec": spec})
    };
    let load = |spec: Value| -> Vec<String> {
        let load: DataLoad = serde_json::from_value(made("DataLoad", spec)).unwrap();
        check::load(&load).into_iter().map(|violation| violation.field).collect()
    };
    let of = |more: Value| {
        let mut all = json!({"dataset": {"name": "hbase"}});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        load(all)
    };
    assert!(
        of(json!({"target": [{"path": "/a", "replicas": 2}], "options": {"expireTime": "5"}})).is_empty()
    );
    assert!(of(json!({"policy": "Cron", "schedule": "*/5 * * * *"})).is_empty());
    assert_eq!(load(json!({})), ["spec.dataset.name"]);
    assert_eq!(of(json!({"dataset": {"name": "a", "namespace": "b"}})), ["spec.dataset.namespace"]);
    assert_eq!(of(json!({"target": [{"path": "a"}]})), ["spec.target[0].path"]);
    assert_eq!(of(json!({"target": [{"path": "/", "replicas": -1}]})), ["spec.target[0].replicas"]);
    assert_eq!(of(json!({"options": {"expireTime": "1h"}})), ["spec.options.expireTime"]);
    assert!(of(json!({"options": {"bandwidth": "100MB", "ignoreCap": "true"}})).is_empty());
    assert_eq!(of(json!({"options": {"bandwidth": "fast"}})), ["spec.options.bandwidth"]);
    assert_eq!(of(json!({"policy": "Cron"})), ["spec.schedule"]);
    assert_eq!(of(json!({"runAfter": {"kind": "DataLoad", "name": "one"}})), ["spec.runAfter"]);
    assert_eq!(of(json!({"runAfter": {"kind": "DataProcess", "name": "x"}})), ["spec.runAfter.kind"]);
    let backup = |spec: Value| -> Vec<String> {
        let backup: DataBackup = serde_json::from_value(made("DataBackup", spec)).unwrap();
        check::backup(&backup).into_iter().map(|violation| violation.field).collect()
    };
    assert!(backup(json!({"dataset": "hbase", "backupPath": "pvc://c/d"})).is_empty());
    assert_eq!(backup(json!({"dataset": "", "backupPath": "/d"})), ["spec.dataset", "spec.backupPath"]);
}

#[test]
fn no_field_may_be_null_and_no_default_is_nothing() {
    fn walk(path: &str, schema: &Value) {
        let Some(fields) = schema.as_object() else { return };
        assert!(!fields.contains_key("nullable"), "{path} may be null");
        let nothing = fields
            .get("default")
            .is_some_and(|default| [json!(null), json!({}), json!([])].contains(default));
        assert!(!nothing, "{path} defaults to nothing");
        for (name, child) in fields.get("properties").and_then(Value::as_object).into_iter().flatten() {
            walk(&format!("{path}.{name}"), child);
        }
        for key in ["items", "additionalProperties"] {
            if let Some(child) = fields.get(key) {
                walk(&format!("{path}[]"), child);
            }
        }
    }
    for (kind, _) in FLUID {
        walk(kind, &schema(kind));
    }
}

fn runtime(spec: Value) -> GooseFSRuntime {
    let object = json!({"apiVersion": "data.fluid.io/v1alpha1", "kind": "GooseFSRuntime", "metadata": {"name": "hbase"}, "spec": spec});
    serde_json::from_value(object).unwrap()
}

fn dataset(spec: Value) -> Dataset {
    let object = json!({"apiVersion": "data.fluid.io/v1alpha1", "kind": "Dataset", "metadata": {"name": "hbase"}, "spec": spec});
    serde_json::from_value(object).unwrap()
}

fn level(level: Value) -> Value {
    json!({"tieredstore": {"levels": [level]}})
}

#[test]
fn the_objects_of_the_tutorial_are_right() {
    let hbase = runtime(json!({
        "replicas": 3,
        "tieredstore": {"levels": [{"mediumtype": "HDD", "path": "/mnt/disk1", "quota": "2G", "high": "0.8", "low": "0.7"}]},
        "master": {"replicas": 3}
    }));
    assert_eq!(check::runtime(&hbase), []);
    let mounts = json!({"mounts": [{"mountPoint": "https://mirrors.tuna.tsinghua.edu.cn/apache/hbase/stable/", "name": "hbase"}]});
    let hbase = dataset(mounts);
    assert_eq!(check::dataset(&hbase), []);
    assert_eq!(hbase.spec.mounts[0].shown_at(), "/hbase");
}

#[test]
fn what_is_wrong_with_a_runtime_is_named() {
    let fields = |spec: Value| -> Vec<String> {
        check::runtime(&runtime(spec)).into_iter().map(|violation| violation.field).collect()
    };
    for replicas in [0, 2, -1, 4] {
        assert_eq!(fields(json!({"master": {"replicas": replicas}})), ["spec.master.replicas"]);
    }
    let tier = "spec.tieredstore.levels[0]";
    let hdd = |more: Value| {
        let mut all = json!({"mediumtype": "HDD", "path": "/a"});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        level(all)
    };
    assert_eq!(fields(hdd(json!({"high": "0.7", "low": "0.7"}))), [format!("{tier}.low")]);
    assert_eq!(fields(hdd(json!({"high": "1.7"}))), [format!("{tier}.high")]);
    assert_eq!(fields(hdd(json!({"quota": "-2G"}))), [format!("{tier}.quota")]);
    assert_eq!(fields(hdd(json!({"quota": -2}))), [format!("{tier}.quota")]);
    assert_eq!(fields(hdd(json!({"quotaList": "1G,2G"}))), [format!("{tier}.quotaList")]);
    assert_eq!(fields(hdd(json!({"path": "a"}))), [format!("{tier}.path")]);
    assert_eq!(fields(hdd(json!({"path": "/a/../b"}))), [format!("{tier}.path")]);
    assert_eq!(fields(hdd(json!({"path": "/a,/a/"}))), ["spec.tieredstore"]);
    let user = |uid: i64, user: &str| json!({"runAs": {"uid": uid, "gid": 7, "user": user, "group": "g"}});
    assert!(fields(user(7, "a.b-c@d")).is_empty() && fields(user(0, "root")).is_empty());
    for (uid, name, field) in [(-1, "a", "uid"), (7, "a:b", "user"), (7, "", "user"), (7, "root", "user")] {
        assert_eq!(fields(user(uid, name)), [format!("spec.runAs.{field}")]);
    }
    let mut long = runtime(json!({}));
    long.metadata.name = Some("a".repeat(46));
    assert_eq!(check::runtime(&long).len(), 1);
    long.metadata.name = Some("20-hbase".to_owned());
    assert_eq!(check::runtime(&long)[0].field, "metadata.name");
}

#[test]
fn a_property_that_no_pod_would_start_with_is_named_and_those_of_other_releases_pass() {
    let found = |spec: Value| -> Vec<String> {
        check::runtime(&runtime(spec)).iter().map(ToString::to_string).collect()
    };
    let slip = json!({"goosefs.worker.web.port": "8o"});
    let unknown = json!({"goosefs.tset": "1"});
    assert!(
        found(json!({"properties": unknown}))[0]
            .starts_with("spec.properties: property goosefs.tset is not known")
    );
    for part in ["master", "worker", "fuse"] {
        let seen = found(json!({part: {"properties": slip}}));
        assert!(
            seen[0].starts_with(&format!("spec.{part}.properties: ")) && seen[0].contains("8o"),
            "{seen:?}"
        );
    }
    let good = json!({"goosefs.user.metrics.collection.enabled": "true", "alluxio.x": "1", "goosefs.worker.web.port": "80"});
    assert!(found(json!({"properties": good})).is_empty());
    assert!(found(json!({"properties": unknown, "goosefsVersion": {"imageTag": "next"}})).is_empty());
}

#[test]
fn a_backup_to_begin_with_has_a_place_and_a_node_if_that_is_local() {
    let fields = |location: Value| -> Vec<String> {
        let spec =
            json!({"mounts": [{"mountPoint": "s3://a/", "name": "x"}], "dataRestoreLocation": location});
        check::dataset(&dataset(spec)).into_iter().map(|violation| violation.field).collect()
    };
    assert!(fields(json!({})).is_empty());
    assert!(fields(json!({"path": "pvc://c/d"})).is_empty());
    assert!(fields(json!({"path": "local:///d", "nodeName": "n"})).is_empty());
    assert_eq!(fields(json!({"path": "local:///d"})), ["spec.dataRestoreLocation.nodeName"]);
    assert_eq!(fields(json!({"path": "/d"})), ["spec.dataRestoreLocation.path"]);
}

#[test]
fn two_mounts_at_one_path_are_refused() {
    let twice = dataset(
        json!({"mounts": [{"mountPoint": "s3://a/", "name": "x"}, {"mountPoint": "s3://b/", "path": "/x"}]}),
    );
    assert_eq!(check::dataset(&twice)[0].message, "another mount is shown at /x already");
    assert_eq!(twice.name_any(), "hbase");
}
