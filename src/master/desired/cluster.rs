//! `cluster.json`: who the masters are, by slot, whether ones with empty directories may begin a cluster, and which one
//! shall go on alone when the data of most is lost.

use super::file::{Followed, LOOK};
use crate::config::Config;
use goosefs_core::config::{Properties, keys};
use goosefs_core::id::{ClusterId, Epoch};
use goosefs_core::raft::{ClusterMark, Force, Roster};
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use serde::Deserialize;
use std::path::PathBuf;
use tokio::sync::watch;

/// The file's own words.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    cluster_id: String,
    epoch: u64,
    bootstrap: bool,
    restore: Option<String>,
    force: Option<SaidForce>,
    masters: Vec<String>,
}

/// Which master goes on alone, and the last epoch of the data that is meant.
#[derive(Deserialize)]
struct SaidForce {
    slot: u32,
    epoch: u64,
}

/// How to read the file: it names Raft addresses only.
#[derive(Clone, Debug)]
pub struct ClusterFile {
    path: PathBuf,
    /// What clients dial, by slot, as far as the properties say.
    rpc: Vec<String>,
    /// The RPC port of the others.
    port: u16,
}

impl ClusterFile {
    fn new(properties: &Properties) -> Result<Option<ClusterFile>> {
        let path = properties.text(&keys::MASTER_CLUSTER_FILE);
        if path.is_empty() {
            return Ok(None);
        }
        let (rpc, port) =
            (properties.list(&keys::MASTER_RPC_ADDRESSES), properties.number(&keys::MASTER_RPC_PORT)?);
        Ok(Some(ClusterFile { path: PathBuf::from(path), rpc, port }))
    }

    /// # Errors
    /// `InvalidArgument` saying what is wrong in the file.
    fn parse(&self, text: &str) -> Result<Roster> {
        let wrong = |what: String| Error::new(Code::InvalidArgument, what);
        let said: Said = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let id = said
            .cluster_id
            .parse()
            .map_err(|_| wrong(format!("clusterId \"{}\" is no UUID", said.cluster_id)))?;
        if said.epoch == 0 {
            return Err(wrong("epoch 0: they begin with 1".to_owned()));
        }
        if said.masters.is_empty() {
            return Err(wrong("masters is empty".to_owned()));
        }
        let mut rpc = Vec::new();
        for (slot, raft) in said.masters.iter().enumerate() {
            let host = match raft.rsplit_once(':') {
                Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => host,
                _ => return Err(wrong(format!("\"{raft}\" in masters is not host:port"))),
            };
            if said.masters.iter().take(slot).any(|other| other == raft) {
                return Err(wrong(format!("masters has {raft} twice")));
            }
            rpc.push(self.rpc.get(slot).cloned().unwrap_or_else(|| format!("{host}:{}", self.port)));
        }
        Ok(Roster {
            file: self.path.clone(),
            mark: ClusterMark { id: ClusterId(id), epoch: Epoch(said.epoch) },
            bootstrap: said.bootstrap,
            restore: said.restore.filter(|offer| !offer.is_empty()),
            force: said.force.map(|force| Force { slot: force.slot, epoch: Epoch(force.epoch) }),
            raft: said.masters,
            rpc,
        })
    }
}

/// The configuration of master `id`, whose peers are those of the cluster file if there is one: it is waited for, and so
/// is our place in it.
///
/// # Errors
/// Those of [`Config::from_properties`].
pub async fn configure(properties: Properties, id: u32) -> Result<Config> {
    let Some(file) = ClusterFile::new(&properties)? else { return Config::from_properties(&properties, id) };
    let mut followed = Followed::new(&file.path);
    let roster = loop {
        match followed.look(|text| file.parse(text)).await {
            Some(roster) if (id as usize) < roster.raft.len() => break roster,
            Some(roster) => {
                followed.tell(format!("it lists {} masters, and this one has --id {id}", roster.raft.len()));
            }
            None => {}
        }
        tokio::time::sleep(LOOK / 4).await;
    };
    let properties = properties
        .with(&keys::MASTER_JOURNAL_ADDRESSES, roster.raft.join(","))
        .with(&keys::MASTER_RPC_ADDRESSES, roster.rpc.join(","));
    let mut config = Config::from_properties(&properties, id)?;
    config.cluster = Some(roster.mark.id);
    config.cluster_file = Some((file, roster));
    Ok(config)
}

/// What the file says from now on.
pub(crate) fn follow((file, first): (ClusterFile, Roster), tasks: &Tasks) -> watch::Receiver<Roster> {
    let (says, said) = watch::channel(first);
    let stop = tasks.stop();
    tasks.spawn("cluster-file", async move {
        let mut followed = Followed::new(&file.path);
        loop {
            if let Some(roster) = followed.look(|text| file.parse(text)).await
                && says.send_if_modified(|before| {
                    let changed = *before != roster;
                    before.clone_from(&roster);
                    changed
                })
            {
                let (masters, epoch) = (roster.raft.len(), roster.mark.epoch);
                tracing::info!(file = %followed.path().display(), masters, %epoch, roster.bootstrap, "the list of masters changed");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    });
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> ClusterFile {
        ClusterFile { path: "/c/cluster.json".into(), rpc: vec!["m0:9200".to_owned()], port: 26000 }
    }

    const ID: &str = "c3a94a2c-6a2f-4b0b-9f5a-3d4d6a9e1b77";

    fn text(id: &str, epoch: u64, masters: &str) -> String {
        format!(r#"{{"clusterId":"{id}","epoch":{epoch},"bootstrap":true,"masters":[{masters}],"new":1}}"#)
    }

    #[test]
    fn masters_are_listed_by_slot() {
        let roster = file().parse(&text(ID, 3, r#""m0:26002","m1:26002""#)).unwrap();
        assert_eq!(roster.raft, ["m0:26002", "m1:26002"]);
        assert_eq!(roster.rpc, ["m0:9200", "m1:26000"]);
        assert_eq!(roster.force, None);
        let forced = text(ID, 3, r#""m0:1""#).replace(r#""new":1"#, r#""force":{"slot":0,"epoch":3}"#);
        assert_eq!(file().parse(&forced).unwrap().force, Some(Force { slot: 0, epoch: Epoch(3) }));
        assert!(roster.bootstrap && roster.mark.epoch == Epoch(3) && roster.mark.id.to_string() == ID);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            (text("r-uid", 1, r#""m:1""#), "clusterId \"r-uid\""),
            (text(ID, 0, r#""m:1""#), "epoch 0"),
            (text(ID, 1, ""), "masters is empty"),
            (text(ID, 1, r#""m""#), "\"m\" in masters"),
            (text(ID, 1, r#""m:1","m:1""#), "m:1 twice"),
            ("{".to_owned(), "EOF"),
        ] {
            let error = file().parse(&text).unwrap_err();
            assert!(error.message.contains(part), "{error}");
        }
    }
}
