//! The log against a model, over restarts and damage.

use super::*;
use crate::metrics::Metrics;
use crate::proto::raft as wire;
use crate::raft::System;
use crate::raft::types::{Command, log_id_from_wire, vote_from_wire};
use openraft::EntryPayload;
use openraft::storage::RaftLogStorageExt;
use openraft::type_config::TypeConfigExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::path::PathBuf;

struct Folder {
    folder: tempfile::TempDir,
    metrics: Metrics,
}

impl Folder {
    fn new() -> Folder {
        Folder { folder: tempfile::tempdir().unwrap(), metrics: Metrics::new() }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn open(&self, cache: usize) -> Opened {
        let counters = Counters::new(&self.metrics);
        LogStore::open(&self.log(), &self.folder.path().join("mark"), cache, counters, Arc::new(System))
            .unwrap()
    }

    /// The file that is being written.
    fn newest_file(&self) -> PathBuf {
        let files = std::fs::read_dir(self.log()).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|e| e == "raftlog")).max().unwrap()
    }
}

fn id(term: u64, index: u64) -> LogId {
    log_id_from_wire(&wire::LogId { term, node: 7, index })
}

fn vote(term: u64) -> Vote {
    vote_from_wire(&wire::Vote { term, node: 7, committed: true })
}

fn entry(term: u64, index: u64) -> Entry {
    let command = Command(bytes::Bytes::from(format!("command {index} of term {term}")));
    Entry { log_id: id(term, index), payload: EntryPayload::Normal(command) }
}

#[tokio::test]
async fn the_log_is_what_a_list_would_be_over_restarts() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    let folder = Folder::new();
    let mut log = folder.open(1000).log;
    let (mut model, mut purged, mut term): (Vec<Entry>, Option<LogId>, u64) = (Vec::new(), None, 1);
    for step in 0..400 {
        let next = model.last().map(|e| e.log_id).max(purged).map_or(0, |id| id.index + 1);
        match dice.random_range(0..10) {
            0..=4 => {
                let entries: Vec<Entry> =
                    (0..dice.random_range(1..20)).map(|i| entry(term, next + i)).collect();
                log.blocking_append(entries.clone()).await.unwrap();
                model.extend(entries);
            }
            5 => {
                let keep = dice.random_range(0..=model.len());
                model.truncate(keep);
                log.truncate_after(model.last().map(|e| e.log_id).or(purged)).await.unwrap();
                term += 1;
            }
            6 if !model.is_empty() => {
                let upto = dice.random_range(0..model.len());
                purged = Some(model[upto].log_id);
                model.drain(..=upto);
                log.purge(purged.unwrap()).await.unwrap();
            }
            7 if dice.random_range(0..4) == 0 => {
                // A snapshot that is ahead of the log.
                purged = Some(id(term, next + 5));
                model.clear();
                log.purge(purged.unwrap()).await.unwrap();
            }
            8 => {
                log.close().await;
                let opened = folder.open(1000);
                assert_eq!(opened.damage, None, "step {step}");
                log = opened.log;
            }
            _ => {
                log.save_vote(&vote(term)).await.unwrap();
                assert_eq!(log.read_vote().await.unwrap(), Some(vote(term)));
            }
        }
        let state = log.get_log_state().await.unwrap();
        assert_eq!(state.last_purged_log_id, purged, "step {step}");
        assert_eq!(state.last_log_id, model.last().map(|e| e.log_id).or(purged), "step {step}");
        assert_eq!(log.try_get_log_entries(..).await.unwrap(), model, "step {step}");
        if let (Some(first), Some(last)) = (model.first(), model.last()) {
            let begin = dice.random_range(first.log_id.index..=last.log_id.index);
            let expected = &model[(begin - first.log_id.index) as usize..];
            let got = log.limited_get_log_entries(begin, u64::MAX).await.unwrap();
            assert!(!got.is_empty() && expected.starts_with(&got), "step {step}");
        }
    }
}

#[tokio::test]
async fn whatever_is_cut_off_an_acknowledged_log_is_noticed() {
    let folder = Folder::new();
    let mut log = folder.open(1 << 20).log;
    log.save_vote(&vote(1)).await.unwrap();
    for index in 0..20 {
        log.blocking_append([entry(1, index)]).await.unwrap();
    }
    log.save_vote(&vote(2)).await.unwrap();
    log.close().await;
    let file = folder.newest_file();
    let whole = std::fs::read(&file).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    assert!(folder.open(1 << 20).damage.is_none());
    for cut in (end / 2..end).step_by(37).chain([end - 1]) {
        // An open log writes to its file, so every attempt starts from the same bytes.
        std::fs::remove_dir_all(folder.log()).unwrap();
        std::fs::create_dir(folder.log()).unwrap();
        std::fs::write(&file, &whole[..cut]).unwrap();
        let opened = folder.open(1 << 20);
        assert!(opened.damage.is_some(), "cut at {cut} of {end}");
        opened.log.close().await;
    }
    // All of it gone.
    std::fs::remove_dir_all(folder.log()).unwrap();
    let opened = folder.open(1 << 20);
    assert!(opened.empty && opened.damage.is_some());
}

#[tokio::test]
async fn a_torn_write_that_nobody_was_told_of_is_no_damage() {
    let folder = Folder::new();
    let mut log = folder.open(1 << 20).log;
    log.blocking_append((0..10).map(|i| entry(1, i))).await.unwrap();
    log.close().await;
    let mark = std::fs::read(folder.folder.path().join("mark")).unwrap();
    let mut log = folder.open(1 << 20).log;
    log.blocking_append([entry(1, 10)]).await.unwrap();
    log.close().await;
    // As after a power cut in the middle of the write of entry 10.
    let file = folder.newest_file();
    let bytes = std::fs::read(&file).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    std::fs::write(&file, &bytes[..end - 3]).unwrap();
    std::fs::write(folder.folder.path().join("mark"), mark).unwrap();
    let mut opened = folder.open(1 << 20);
    assert_eq!(opened.damage, None);
    assert_eq!(opened.log.get_log_state().await.unwrap().last_log_id, Some(id(1, 9)));
    opened.log.blocking_append([entry(2, 10)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_that_wait_together_share_an_fsync() {
    let folder = Folder::new();
    let mut log = folder.open(1 << 20).log;
    let mut waiting = Vec::new();
    for index in 0..500 {
        let (done, wait) = <Types as TypeConfigExt>::oneshot();
        log.append([entry(1, index)], IOFlushed::signal(done)).await.unwrap();
        waiting.push(wait);
    }
    for wait in waiting {
        wait.await.unwrap().unwrap();
    }
    let fsyncs = log.counters.fsyncs.get();
    assert!((1..250).contains(&fsyncs), "{fsyncs} fsyncs for 500 appends");
}

#[tokio::test]
async fn a_closed_log_answers_with_an_error() {
    let folder = Folder::new();
    let mut log = folder.open(0).log;
    log.blocking_append((0..10).map(|i| entry(1, i))).await.unwrap();
    log.close().await;
    assert!(log.try_get_log_entries(0..5).await.is_err());
    assert!(log.save_vote(&vote(9)).await.is_err());
}
