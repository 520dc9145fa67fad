//! A master's configuration out of properties.

use crate::config::Config;
use goosefs_core::config::{Properties, keys};
use goosefs_core::rpc::sasl::AuthType;
use goosefs_core::{Code, Error, Result};
use std::path::PathBuf;

impl Config {
    /// Reads the `goosefs.master.*` properties and those that every role shares, for the master with this `--id`.
    ///
    /// # Errors
    /// `InvalidArgument` naming the property and what it takes.
    pub fn from_properties(properties: &Properties, id: u32) -> Result<Config> {
        let rpc = rpc_addresses(properties)?;
        let raft = raft_addresses(properties, &rpc)?;
        if rpc.len() != raft.len() {
            let message = format!("{} RPC addresses but {} Raft addresses of masters", rpc.len(), raft.len());
            return Err(Error::new(Code::InvalidArgument, message).hint(format!(
                "{} and {} name the same masters in the same order",
                keys::MASTER_RPC_ADDRESSES.name,
                keys::MASTER_JOURNAL_ADDRESSES.name
            )));
        }
        if id as usize >= rpc.len() {
            let message = format!(
                "--id {id} is not one of the {} masters in {}",
                rpc.len(),
                keys::MASTER_RPC_ADDRESSES.name
            );
            return Err(
                Error::new(Code::InvalidArgument, message).hint(format!("it takes 0 to {}", rpc.len() - 1))
            );
        }
        let dir = match properties.text(&keys::MASTER_JOURNAL_FOLDER) {
            "" => properties.home().join("journal"),
            folder => PathBuf::from(folder),
        };
        let root = match properties.text(&keys::MASTER_ROOT_UFS) {
            "" => properties.home().join("underFSStorage").display().to_string(),
            uri => uri.to_owned(),
        };
        Ok(Config {
            web_ports: web_ports(properties, id, &rpc)?,
            auth: AuthType::from_properties(properties)?,
            root_ufs: root,
            root_read_only: properties.truth(&keys::MASTER_ROOT_READONLY)?,
            sync_interval: properties.duration(&keys::USER_SYNC_INTERVAL)?,
            block_size: properties.size(&keys::USER_BLOCK_SIZE)?,
            virtual_nodes: properties.number(&keys::MASTER_VIRTUAL_NODES)?,
            heartbeat: properties.finite_duration(&keys::WORKER_HEARTBEAT)?,
            worker_timeout: properties.finite_duration(&keys::MASTER_WORKER_TIMEOUT)?,
            ..Config::new(id, dir, rpc, raft)
        })
    }
}

fn rpc_addresses(properties: &Properties) -> Result<Vec<String>> {
    let addresses = properties.list(&keys::MASTER_RPC_ADDRESSES);
    if !addresses.is_empty() {
        return Ok(addresses);
    }
    let port: u16 = properties.number(&keys::MASTER_RPC_PORT)?;
    Ok(vec![format!("{}:{port}", properties.text(&keys::MASTER_HOSTNAME))])
}

fn raft_addresses(properties: &Properties, rpc: &[String]) -> Result<Vec<String>> {
    let addresses = properties.list(&keys::MASTER_JOURNAL_ADDRESSES);
    if !addresses.is_empty() {
        return Ok(addresses);
    }
    let port: u16 = properties.number(&keys::MASTER_JOURNAL_PORT)?;
    let host =
        |address: &String| address.rsplit_once(':').map_or(address.clone(), |(host, _)| host.to_owned());
    Ok(rpc.iter().map(|address| format!("{}:{port}", host(address))).collect())
}

/// Where masters differ in their RPC ports (many on one host), their web ports differ alike.
fn web_ports(properties: &Properties, id: u32, rpc: &[String]) -> Result<Vec<u16>> {
    let own_web: i32 = properties.number(&keys::MASTER_WEB_PORT)?;
    let port = |address: &String| -> i32 {
        address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or_default()
    };
    let own_rpc = port(&rpc[id as usize]);
    Ok(rpc
        .iter()
        .map(|address| u16::try_from(own_web + port(address) - own_rpc).unwrap_or_default())
        .collect())
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
    fn a_single_master_needs_no_address() {
        let config = Config::from_properties(&Properties::new(), 0).unwrap();
        assert_eq!(config.rpc_addresses, ["127.0.0.1:9200"]);
        assert_eq!(config.raft_addresses, ["127.0.0.1:9202"]);
        assert_eq!(config.web_ports, [9201]);
        assert_eq!(config.sync_interval, None);
    }

    #[test]
    fn masters_on_one_host_differ_in_every_port_alike() {
        let set = properties(&[
            ("goosefs.master.rpc.addresses", "h:9200,h:9210,h:9220"),
            ("goosefs.master.embedded.journal.addresses", ",h:9202,h:9212,h:9222"),
            ("goosefs.master.web.port", "9211"),
        ]);
        let config = Config::from_properties(&set, 1).unwrap();
        assert_eq!(config.web_ports, [9201, 9211, 9221]);
        assert!(
            Config::from_properties(&set, 3)
                .unwrap_err()
                .to_string()
                .contains("--id 3 is not one of the 3 masters")
        );
    }

    #[test]
    fn lists_of_different_lengths_are_refused() {
        let set = properties(&[
            ("goosefs.master.rpc.addresses", "a:1,b:1"),
            ("goosefs.master.embedded.journal.addresses", "a:2"),
        ]);
        assert!(
            Config::from_properties(&set, 0).unwrap_err().to_string().contains("2 RPC addresses but 1 Raft")
        );
    }
}
