//! A cluster that Fluid runs as a CacheRuntime (Fluid 1.1 or later): its description of the cluster, as files of ours. Pure
//! but for reading the keys of mounts, which the caller does.
//!
//! Called by `goosefs cache-runtime`, which containers of `charts/extra/cacheruntimeclass.yaml` run.

use crate::controller::phase::{percentage, size};
use crate::controller::plan::files::properties_text;
use crate::controller::plan::ports::Ports;
use crate::crd::bytes_of;
use goosefs_core::{Code, Error, Result};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a container is (`FLUID_RUNTIME_COMPONENT_TYPE`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// A master.
    Master,
    /// A worker.
    Worker,
    /// A FUSE process.
    Client,
    /// A pod that runs commands.
    Other,
}

impl Part {
    /// From Fluid's word for it.
    #[must_use]
    pub fn from_word(word: &str) -> Part {
        match word {
            "master" => Part::Master,
            "worker" => Part::Worker,
            "client" => Part::Client,
            _ => Part::Other,
        }
    }
}

/// The files of a container.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Files {
    /// `goosefs-site.properties`.
    pub properties: String,
    /// `mounts.json`, with keys of storages in it, where masters and workers need it.
    pub mounts: Option<String>,
    /// Where storages shall be mounted.
    pub paths: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Described {
    mounts: Vec<Mount>,
    target_path: String,
    master: Component,
    worker: Component,
    client: Component,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Component {
    name: String,
    options: BTreeMap<String, String>,
    replicas: usize,
    service: Service,
    tiered_store_levels: Vec<Level>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Service {
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Level {
    mount_paths: Vec<String>,
    medium_type: String,
    quotas: Vec<String>,
    high: String,
    low: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Mount {
    mount_point: String,
    name: String,
    path: String,
    read_only: bool,
    shared: bool,
    options: BTreeMap<String, String>,
    /// By option, the file that has its value.
    encrypt_options: BTreeMap<String, String>,
}

impl Mount {
    fn shown_at(&self) -> String {
        if self.path.starts_with('/') { self.path.clone() } else { format!("/{}", self.name) }
    }
}

/// The files for a `part` whose home is `home`, from the text at `FLUID_RUNTIME_CONFIG_PATH`. `key` reads a file that has the
/// value of a mount's option.
///
/// # Errors
/// `InvalidArgument` for what cannot be understood, and what `key` fails with.
pub fn files(text: &str, part: Part, home: &str, key: impl Fn(&str) -> Result<String>) -> Result<Files> {
    let described: Described = serde_json::from_str(text).map_err(|error| {
        Error::new(Code::InvalidArgument, format!("Fluid's description of the runtime: {error}"))
    })?;
    let properties = properties_text(&properties(&described, part, home)?);
    let has_mounts = matches!(part, Part::Master | Part::Worker);
    let mounts = if has_mounts { Some(mounts(&described, key)?.to_string()) } else { None };
    Ok(Files { properties, mounts, paths: described.mounts.iter().map(Mount::shown_at).collect() })
}

fn properties(described: &Described, part: Part, home: &str) -> Result<BTreeMap<String, String>> {
    let ports = Ports::default();
    let mut all = BTreeMap::new();
    let mut set = |key: &str, value: String| all.insert(key.to_owned(), value);
    let Component { name, service, replicas, .. } = &described.master;
    let masters = |port: u16| {
        let all: Vec<String> =
            (0..*replicas.max(&1)).map(|slot| format!("{name}-{slot}.{}:{port}", service.name)).collect();
        all.join(",")
    };
    set("goosefs.master.rpc.addresses", masters(ports.master_rpc));
    set("goosefs.master.embedded.journal.addresses", masters(ports.master_raft));
    set("goosefs.master.rpc.port", ports.master_rpc.to_string());
    set("goosefs.master.web.port", ports.master_web.to_string());
    set("goosefs.master.embedded.journal.port", ports.master_raft.to_string());
    set("goosefs.master.bind.host", "0.0.0.0".to_owned());
    set("goosefs.master.journal.folder", "/journal".to_owned());
    set("goosefs.master.mounts.file", format!("{home}/mounts/mounts.json"));
    set("goosefs.master.mount.table.root.ufs", "/underFSStorage".to_owned());
    set("goosefs.master.mount.table.root.readonly", "true".to_owned());
    set("goosefs.worker.rpc.port", ports.worker_rpc.to_string());
    set("goosefs.worker.web.port", ports.worker_web.to_string());
    set("goosefs.fuse.web.bind.host", "0.0.0.0".to_owned());
    set("goosefs.fuse.web.port", ports.fuse_web.to_string());
    set("goosefs.fuse.mount.point", described.target_path.clone());
    let levels = &described.worker.tiered_store_levels;
    if !levels.is_empty() {
        set("goosefs.worker.tieredstore.levels", levels.len().to_string());
    }
    for (number, level) in levels.iter().enumerate() {
        let quotas: Vec<String> = level
            .quotas
            .iter()
            .map(|quota| Ok(bytes_of(&Quantity(quota.clone()))?.to_string()))
            .collect::<Result<_>>()?;
        let prefix = format!("goosefs.worker.tieredstore.level{number}");
        set(&format!("{prefix}.alias"), level.medium_type.clone());
        set(&format!("{prefix}.dirs.mediumtype"), level.medium_type.clone());
        set(&format!("{prefix}.dirs.path"), level.mount_paths.join(","));
        set(&format!("{prefix}.dirs.quota"), quotas.join(","));
        for (mark, value) in [("high", &level.high), ("low", &level.low)] {
            if !value.is_empty() {
                set(&format!("{prefix}.watermark.{mark}.ratio"), value.clone());
            }
        }
    }
    let own = match part {
        Part::Master => Some(&described.master.options),
        Part::Worker => Some(&described.worker.options),
        Part::Client => Some(&described.client.options),
        Part::Other => None,
    };
    all.extend(own.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
    Ok(all)
}

fn mounts(described: &Described, key: impl Fn(&str) -> Result<String>) -> Result<Value> {
    let mut all = Vec::new();
    for mount in &described.mounts {
        let mut options = mount.options.clone();
        for (option, file) in &mount.encrypt_options {
            options.insert(option.clone(), key(file)?);
        }
        all.push(json!({
            "path": mount.shown_at(),
            "uri": mount.mount_point,
            "readOnly": mount.read_only,
            "shared": mount.shared,
            "options": options,
        }));
    }
    // The generation only tells mounts of this file from those that people made.
    Ok(json!({"generation": 1, "mounts": all}))
}

/// What Fluid reads after it has asked for the mounts: those of `wanted` that are `mounted`.
#[must_use]
pub fn mounted(wanted: &[String], mounted: &[String]) -> Value {
    json!({"mounted": wanted.iter().filter(|path| mounted.contains(path)).collect::<Vec<_>>()})
}

/// What Fluid reads of the cache.
#[must_use]
pub fn summary(used: u64, capacity: u64) -> Value {
    json!({
        "cached": size(used),
        "cacheCapacity": size(capacity),
        "cachedPercentage": percentage(used, capacity),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As in Fluid's guide, for three masters.
    const TEXT: &str = r#"{
        "mounts": [
            {"mountPoint": "s3://test", "options": {"endpoint_url": "http://minio:9000"},
             "encryptOptions": {"access-key": "/etc/fluid/secrets/minio/access-key"}, "name": "minio", "path": "/minio"},
            {"mountPoint": "https://mirror.test/a/", "name": "a", "readOnly": true}
        ],
        "accessModes": ["ReadWriteMany"],
        "targetPath": "/runtime-mnt/cache/default/demo/cache-fuse",
        "master": {"enabled": true, "name": "demo-master", "options": {"goosefs.logs.level": "debug"}, "replicas": 3,
                   "service": {"name": "svc-demo-master"}},
        "worker": {"enabled": true, "name": "demo-worker", "options": {}, "replicas": 2, "service": {"name": "svc-demo-worker"},
                   "tieredStoreLevels": [{"mountPaths": ["/etc/fluid/mount/t0", "/etc/fluid/mount/t1"], "mediumType": "SSD",
                                          "quotas": ["1Gi", "512Mi"], "high": "0.8", "low": "0.5"}]},
        "client": {"enabled": true, "name": "demo-client", "service": {"name": ""}}
    }"#;

    fn of(part: Part) -> Files {
        files(TEXT, part, "/opt/goosefs", |file| Ok(format!("value of {file}"))).unwrap()
    }

    #[test]
    fn every_part_finds_masters_and_tiers() {
        for part in [Part::Master, Part::Worker, Part::Client, Part::Other] {
            let properties = of(part).properties;
            for line in [
                "goosefs.master.rpc.addresses=demo-master-0.svc-demo-master:26000,demo-master-1.svc-demo-master:26000,demo-master-2.svc-demo-master:26000",
                "goosefs.worker.tieredstore.level0.dirs.path=/etc/fluid/mount/t0,/etc/fluid/mount/t1",
                "goosefs.worker.tieredstore.level0.dirs.quota=1073741824,536870912",
                "goosefs.worker.tieredstore.level0.watermark.high.ratio=0.8",
                "goosefs.fuse.mount.point=/runtime-mnt/cache/default/demo/cache-fuse",
            ] {
                assert!(properties.lines().any(|one| one == line), "{line} is missing in {properties}");
            }
            let own = properties.contains("goosefs.logs.level=debug");
            assert_eq!(own, part == Part::Master, "options of masters are theirs");
        }
    }

    #[test]
    fn masters_and_workers_have_mounts_with_their_keys_and_nobody_else() {
        let mounts: Value = serde_json::from_str(&of(Part::Master).mounts.unwrap()).unwrap();
        assert_eq!(mounts["mounts"][0]["path"], "/minio");
        assert_eq!(
            mounts["mounts"][0]["options"]["access-key"],
            "value of /etc/fluid/secrets/minio/access-key"
        );
        assert_eq!(
            mounts["mounts"][1],
            json!({"path": "/a", "uri": "https://mirror.test/a/", "readOnly": true, "shared": false, "options": {}})
        );
        assert!(of(Part::Worker).mounts.is_some());
        assert!(of(Part::Client).mounts.is_none() && of(Part::Other).mounts.is_none());
        assert!(!of(Part::Master).properties.contains("value of"));
    }

    #[test]
    fn fluid_reads_what_is_mounted_and_cached() {
        let wanted = of(Part::Master).paths;
        assert_eq!(wanted, ["/minio", "/a"]);
        assert_eq!(mounted(&wanted, &["/".to_owned(), "/a".to_owned()]), json!({"mounted": ["/a"]}));
        assert_eq!(
            summary(1 << 30, 4 << 30),
            json!({"cached": "1.00GiB", "cacheCapacity": "4.00GiB", "cachedPercentage": "25.0%"})
        );
    }

    #[test]
    fn what_cannot_be_understood_is_said() {
        let error = files("{", Part::Master, "/opt/goosefs", |_| Ok(String::new())).unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument);
        let error = files(TEXT, Part::Worker, "/opt/goosefs", |file| {
            Err(Error::new(Code::NotFound, format!("{file} is missing")))
        });
        assert!(error.unwrap_err().to_string().contains("access-key"));
    }
}
