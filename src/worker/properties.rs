//! A worker's configuration out of properties.

use crate::config::Config;
use goosefs_core::block::{DirSpec, TierSpec};
use goosefs_core::config::{Properties, keys, value};
use goosefs_core::rpc::sasl::AuthType;
use goosefs_core::{Code, Error, Result};
use std::path::{Path, PathBuf};

impl Config {
    /// Reads the `goosefs.worker.*` properties and those that every role shares.
    ///
    /// # Errors
    /// `InvalidArgument` naming the property and what it takes.
    pub fn from_properties(properties: &Properties) -> Result<Config> {
        let host = properties.text(&keys::WORKER_HOSTNAME).to_owned();
        let port: u16 = properties.number(&keys::WORKER_RPC_PORT)?;
        let tiers = tiers(properties)?;
        let first = tiers.first().and_then(|tier| tier.dirs.first()).map(|dir| dir.path.clone());
        let socket = match properties.text(&keys::WORKER_SOCKET) {
            "" => first.clone().map(|dir| dir.join("worker.sock")),
            path => Some(PathBuf::from(path)),
        };
        let auth = AuthType::from_properties(properties)?;
        Ok(Config {
            rpc_bind: format!("{host}:{port}"),
            web_port: properties.number(&keys::WORKER_WEB_PORT)?,
            socket,
            holder: Some(properties.text(&keys::WORKER_HOLDER))
                .filter(|path| !path.is_empty())
                .map(Into::into),
            auth,
            user: properties.user(),
            tiers,
            virtual_nodes: properties.number(&keys::MASTER_VIRTUAL_NODES)?,
            fill_parallel: properties.number(&keys::WORKER_FILL_PARALLEL)?,
            heartbeat: properties.finite_duration(&keys::WORKER_HEARTBEAT)?,
            ..Config::new(&host, properties.masters(), &first.unwrap_or_default(), 0)
        })
    }
}

fn tiers(properties: &Properties) -> Result<Vec<TierSpec>> {
    let levels: usize = properties.number(&keys::WORKER_TIERS)?;
    (0..levels).map(|level| tier(properties, level)).collect()
}

fn tier(properties: &Properties, level: usize) -> Result<TierSpec> {
    let mut paths: Vec<PathBuf> =
        properties.list_at(&keys::WORKER_TIER_DIRS_PATH, level).into_iter().map(PathBuf::from).collect();
    if paths.is_empty() && level == 0 {
        paths.push(properties.home().join("worker"));
    }
    if paths.is_empty() {
        let name = keys::WORKER_TIER_DIRS_PATH.numbered(level);
        return Err(Error::new(
            Code::InvalidArgument,
            format!("property {name} is not set: a tier needs folders"),
        ));
    }
    let quotas = quotas(properties, level, paths.len())?;
    let medium = properties.list_at(&keys::WORKER_TIER_MEDIUM, level).into_iter().next();
    let alias = match properties.text_at(&keys::WORKER_TIER_ALIAS, level) {
        "" => medium.unwrap_or_else(|| "SSD".to_owned()),
        alias => alias.to_owned(),
    };
    Ok(TierSpec {
        alias,
        dirs: paths
            .into_iter()
            .zip(quotas)
            .map(|(path, quota)| DirSpec { path: absolute(&path), quota })
            .collect(),
        high: properties.ratio_at(&keys::WORKER_TIER_HIGH, level)?,
        low: properties.ratio_at(&keys::WORKER_TIER_LOW, level)?,
    })
}

fn quotas(properties: &Properties, level: usize, folders: usize) -> Result<Vec<u64>> {
    let name = keys::WORKER_TIER_DIRS_QUOTA.numbered(level);
    let mut texts = properties.list_at(&keys::WORKER_TIER_DIRS_QUOTA, level);
    if texts.is_empty() {
        texts.push("2GB".to_owned());
    }
    let bad = |text: &str| {
        Error::new(
            Code::InvalidArgument,
            format!(
                "property {name} cannot be \"{text}\": it takes a size such as 512MB or 2GB for each folder"
            ),
        )
    };
    let sizes: Vec<u64> = texts
        .iter()
        .map(|text| value::size(text).filter(|size| *size > 0).ok_or_else(|| bad(text)))
        .collect::<Result<_>>()?;
    match sizes.as_slice() {
        [one] => Ok(vec![*one; folders]),
        many if many.len() == folders => Ok(sizes),
        many => Err(Error::new(
            Code::InvalidArgument,
            format!(
                "property {name} has {} sizes for {folders} folders: give one, or one for each",
                many.len()
            ),
        )),
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use goosefs_core::config::Source;

    fn properties(pairs: &[(&str, &str)]) -> Properties {
        let mut properties = Properties::new();
        for (name, value) in pairs {
            properties.set(*name, *value, Source::CommandLine);
        }
        properties
    }

    #[test]
    fn one_quota_serves_every_folder() {
        let config = Config::from_properties(&properties(&[
            ("goosefs.worker.tieredstore.level0.dirs.path", "/a,/b"),
            ("goosefs.worker.tieredstore.level0.dirs.quota", "2GB"),
            ("goosefs.worker.tieredstore.level0.dirs.mediumtype", "HDD,HDD"),
            ("goosefs.worker.tieredstore.level0.watermark.high.ratio", "0.8"),
            ("goosefs.worker.tieredstore.level0.watermark.low.ratio", "0.7"),
        ]))
        .unwrap();
        let tier = &config.tiers[0];
        assert_eq!((tier.alias.as_str(), tier.dirs.len(), tier.dirs[1].quota), ("HDD", 2, 2 << 30));
        assert!((tier.high - 0.8).abs() < f64::EPSILON && (tier.low - 0.7).abs() < f64::EPSILON);
        assert_eq!(config.socket.unwrap(), Path::new("/a/worker.sock"));
    }

    #[test]
    fn a_quota_that_is_none_is_named() {
        let error =
            Config::from_properties(&properties(&[("goosefs.worker.tieredstore.level0.dirs.quota", "2X")]));
        assert!(
            error.unwrap_err().to_string().contains("level0.dirs.quota cannot be \"2X\": it takes a size")
        );
        let error = Config::from_properties(&properties(&[
            ("goosefs.worker.tieredstore.level0.dirs.path", "/a,/b,/c"),
            ("goosefs.worker.tieredstore.level0.dirs.quota", "1GB,2GB"),
        ]));
        assert!(error.unwrap_err().to_string().contains("2 sizes for 3 folders"));
    }
}
