//! Any of three masters crash in any order and are started again in any order; in half of the cases one of them has lost
//! its directory meanwhile. Afterwards the cluster works, and every master has all that was acknowledged.
//!
//! There are 51 cases of crashes (3 of one master, 12 of two, 36 of three), and 135 with one directory wiped. One cluster
//! of real processes goes through them one after another. `make test` plays some, drawn by a seed that is printed (`MATRIX_SEED=n` draws the
//! same again); `make matrix` plays all (`MATRIX_CASES=all`).

// In the suite's own functions, too, a failure is a failed test.
#![allow(clippy::unwrap_used)]

use goosefs_client::Client;
use goosefs_client::meta::CreateOptions;
use goosefs_core::path::NsPath;
use goosefs_core::proto::internal::WriteType;
use goosefs_harness::{MASTERS, Masters};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

/// Cases that are played when not all are.
const SOME: usize = 40;

/// Who crashes, who is started again, each in this order, and who has lost its directory in between.
#[derive(Clone, Debug)]
struct Case {
    crash: Vec<usize>,
    start: Vec<usize>,
    wiped: Option<usize>,
}

/// Every order of every subset but the empty one.
fn orders() -> Vec<Vec<usize>> {
    let mut orders: Vec<Vec<usize>> = vec![Vec::new()];
    let mut at = 0;
    while let Some(order) = orders.get(at).cloned() {
        orders.extend((0..MASTERS).filter(|id| !order.contains(id)).map(|id| [&order[..], &[id]].concat()));
        at += 1;
    }
    orders.split_off(1)
}

fn cases() -> Vec<Case> {
    let set = |order: &Vec<usize>| order.iter().copied().collect::<BTreeSet<_>>();
    let mut cases = Vec::new();
    for crash in orders() {
        for start in orders().iter().filter(|start| set(start) == set(&crash)) {
            let wiped = std::iter::once(None).chain(crash.iter().copied().map(Some));
            let case = |wiped| Case { crash: crash.clone(), start: start.clone(), wiped };
            cases.extend(wiped.map(case));
        }
    }
    cases
}

/// The cluster, and what it has acknowledged.
struct Bed {
    masters: Masters,
    client: Client,
    acknowledged: BTreeSet<String>,
}

impl Bed {
    async fn start() -> Bed {
        let binary = Path::new(env!("CARGO_BIN_EXE_goosefs"));
        // Snapshots come often, so that masters that were away or wiped need them now and then.
        let flags = ["-Dgoosefs.master.raft.snapshot.entries=100"];
        let mut masters = Masters::plan_on_loopback(binary, &std::env::temp_dir(), &flags).unwrap();
        masters.launch_all().await.unwrap();
        let client = masters.observer();
        Bed { masters, client, acknowledged: BTreeSet::new() }
    }

    /// Makes a file, and a directory that the under-storage has, too.
    async fn write(&mut self) {
        let number = self.acknowledged.len();
        let path = |name: &str| NsPath::parse(&format!("/{name}")).unwrap();
        let (file, folder) = (format!("f{number:05}"), format!("d{number:05}"));
        let options = CreateOptions { block_size: 1 << 20, write_type: WriteType::MustCache };
        self.client.paths().create(&path(&file), 0o644, Some(options)).await.unwrap();
        self.acknowledged.insert(file);
        self.client.paths().make_dir(&path(&folder), 0o755, false).await.unwrap();
        self.acknowledged.insert(folder);
    }

    async fn play(&mut self, case: &Case) {
        for id in &case.crash {
            // As long as a quorum is left the logs grow apart.
            if (0..MASTERS).filter(|id| self.masters.runs(*id)).count() >= 2 {
                self.write().await;
            }
            self.masters.kill(*id).unwrap();
        }
        if let Some(wiped) = case.wiped {
            self.masters.wipe(wiped).unwrap();
        }
        for id in &case.start {
            self.masters.launch(*id).unwrap();
        }
        self.write().await;
        self.masters.all_serve(&self.client).await.unwrap();
        self.masters.agreed(&self.client).await.unwrap();
        let listed = self.client.paths().list(&NsPath::root()).await.unwrap();
        let found: BTreeSet<String> = listed.into_iter().map(|entry| entry.name).collect();
        assert_eq!(found, self.acknowledged);
    }
}

fn chosen() -> Vec<Case> {
    let mut cases = cases();
    assert_eq!(cases.len(), 51 + 135);
    if std::env::var("MATRIX_CASES").is_ok_and(|text| text == "all") {
        return cases;
    }
    let seed = std::env::var("MATRIX_SEED").ok().map_or_else(rand::random, |seed| seed.parse().unwrap());
    println!("MATRIX_SEED={seed}");
    cases.shuffle(&mut StdRng::seed_from_u64(seed));
    cases.truncate(SOME);
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn masters_that_crash_in_any_order_come_back_in_any_order_with_all_data() {
    let cases = chosen();
    let mut bed = Bed::start().await;
    bed.write().await;
    let begun = Instant::now();
    for (number, case) in cases.iter().enumerate() {
        let moment = Instant::now();
        println!("case {} of {}: {case:?}", number + 1, cases.len());
        bed.play(case).await;
        println!("    {:?}", moment.elapsed());
    }
    println!("{} cases in {:?}", cases.len(), begun.elapsed());
    assert_eq!(bed.masters.errors().unwrap().into_iter().filter(|line| line.contains("panicked")).count(), 0);
    bed.client.shutdown(goosefs_harness::LONG).await;
}
