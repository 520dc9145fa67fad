//! What happens to the masters meanwhile.

use goosefs_client::Client;
use goosefs_harness::{Cut, MASTERS, Masters};
use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// One kind of trouble.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Trouble {
    /// kill -9 of one.
    Kill,
    /// kill -9 of two: no quorum is left for a while.
    KillTwo,
    /// kill -9 of all at once, as a power cut.
    PowerCut,
    /// SIGTERM.
    Term,
    /// SIGSTOP for longer than a lease.
    Stop,
    /// Cut off from its peers; clients still reach it.
    CutPeers,
    /// Cut off from everybody.
    CutAll,
    /// kill -9, and its directory is lost.
    Wipe,
    /// Its wall clock jumps hours ahead or back, and returns; half the time another master is killed meanwhile.
    Clock,
}

/// Plays troubles until `until`, mends all of them, and says what was played.
pub(crate) async fn haunt(
    masters: &mut Masters,
    observer: &Client,
    seed: u64,
    until: Instant,
) -> anyhow::Result<BTreeMap<String, usize>> {
    use Trouble::{Clock, CutAll, CutPeers, Kill, KillTwo, PowerCut, Stop, Term, Wipe};
    let mut random = StdRng::seed_from_u64(seed);
    let mut kinds = vec![Kill, Kill, Stop, Stop, Term, Wipe, KillTwo, PowerCut];
    if masters.can_cut() {
        kinds.extend([CutPeers, CutPeers, CutAll]);
    }
    if masters.have_clocks() {
        kinds.extend([Clock, Clock]);
    }
    let mut played = BTreeMap::new();
    while Instant::now() < until {
        // Often the next trouble comes before the last is over.
        if random.random_bool(0.5) {
            masters.all_serve(observer).await?;
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1500))).await;
        let kind = kinds.choose(&mut random).copied().unwrap_or(Kill);
        let victims = victims(masters, observer, &mut random).await?;
        play(kind, &victims, masters, observer, &mut random).await?;
        *played.entry(format!("{kind:?}")).or_default() += 1;
    }
    masters.all_serve(observer).await?;
    Ok(played)
}

/// All masters; half the time the leader comes first.
async fn victims(masters: &Masters, observer: &Client, random: &mut StdRng) -> anyhow::Result<Vec<usize>> {
    let mut all: Vec<usize> = (0..MASTERS).collect();
    all.shuffle(random);
    if random.random_bool(0.5) {
        let leader = masters.leader(observer).await?;
        all.sort_by_key(|id| *id != leader);
    }
    Ok(all)
}

async fn play(
    kind: Trouble,
    victims: &[usize],
    masters: &mut Masters,
    observer: &Client,
    random: &mut StdRng,
) -> anyhow::Result<()> {
    let first = victims[0];
    let seconds = 3600 * random.random_range(1..48_i64) * if random.random() { 1 } else { -1 };
    let twofold: bool = random.random();
    let mut while_it_lasts = async |range: std::ops::Range<u64>| {
        tokio::time::sleep(Duration::from_millis(random.random_range(range))).await;
    };
    match kind {
        Trouble::Kill => {
            masters.kill(first)?;
            while_it_lasts(0..2000).await;
            masters.launch(first)
        }
        Trouble::KillTwo | Trouble::PowerCut => {
            let dead = if kind == Trouble::KillTwo { &victims[..2] } else { victims };
            for id in dead {
                masters.kill(*id)?;
            }
            while_it_lasts(0..1000).await;
            for id in dead {
                masters.launch(*id)?;
                while_it_lasts(0..300).await;
            }
            Ok(())
        }
        Trouble::Term => {
            masters.signal(first, Signal::SIGTERM)?;
            masters.ended(first).await?;
            masters.launch(first)
        }
        Trouble::Stop => {
            masters.signal(first, Signal::SIGSTOP)?;
            while_it_lasts(200..3000).await;
            masters.signal(first, Signal::SIGCONT)
        }
        Trouble::CutPeers | Trouble::CutAll => {
            let cut = if kind == Trouble::CutAll { Cut::All } else { Cut::Peers };
            masters.cut(first, cut)?;
            while_it_lasts(200..4000).await;
            masters.mend(first)
        }
        Trouble::Clock => {
            masters.set_clock(first, seconds)?;
            while_it_lasts(200..5000).await;
            if twofold {
                masters.kill(victims[1])?;
                while_it_lasts(0..1000).await;
                masters.launch(victims[1])?;
            }
            masters.set_clock(first, 0)
        }
        Trouble::Wipe => {
            // Only one directory may be lost at a time: what a quorum has acknowledged is on two.
            masters.all_serve(observer).await?;
            masters.kill(first)?;
            masters.wipe(first)?;
            while_it_lasts(0..1000).await;
            masters.launch(first)?;
            masters.all_serve(observer).await
        }
    }
}
