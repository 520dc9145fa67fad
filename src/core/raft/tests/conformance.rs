//! openraft's own suite for log stores and state machines.

use super::toy::Toy;
use crate::metrics::Metrics;
use crate::raft::System;
use crate::raft::log::LogStore;
use crate::raft::metrics::Counters;
use crate::raft::snapshot::Snapshots;
use crate::raft::space::Space;
use crate::raft::state::StateMachine;
use crate::raft::types::Types;
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use std::sync::Arc;

struct Builder;

impl StoreBuilder<Types, LogStore, StateMachine, tempfile::TempDir> for Builder {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, StateMachine), StorageError<Types>> {
        let folder = tempfile::tempdir().unwrap();
        let counters = Counters::new(&Metrics::new());
        // A window of one entry, so that most reads go to the disk.
        let opened = LogStore::open(
            &folder.path().join("log"),
            &folder.path().join("mark"),
            1,
            counters.clone(),
            Arc::new(System),
        )
        .unwrap();
        let snapshots = Arc::new(Snapshots::open(&folder.path().join("snapshot")).unwrap());
        let space = Arc::new(Space::open(folder.path(), 1, counters.clone()));
        let state =
            StateMachine::start(Arc::new(Toy::default()), snapshots, space, counters, Arc::new(System))
                .unwrap();
        Ok((folder, opened.log, state))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_and_state_machine_pass_the_suite_of_openraft() {
    Suite::test_all(Builder).await.unwrap();
}
