//! What goes wrong, drawn from the seed: one trouble after another, some at once.

use crate::disk::Loss;
use crate::network::Weather;
use rand::Rng;
use rand::rngs::StdRng;

/// A trouble; those with an end are followed by their [`End`].
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The process dies, at once or in the middle of a call to its disk; its disk may lose what was not synced.
    Crash {
        master: usize,
        calls: Option<u32>,
        loss: Loss,
    },
    /// The process is killed, and its directory is gone, or its log has lost its end, when it comes back. What was durable
    /// is not any more, so one master may have this in one schedule.
    Spoil {
        master: usize,
        how: Spoil,
    },
    /// Nothing of the process runs, while its clock goes on.
    Pause(usize),
    /// Masters are cut off from each other: no message from a first to a second.
    Cut(Vec<(usize, usize)>),
    Weather(Weather),
    /// Syncs of a master take long.
    SlowDisk(usize, (u64, u64)),
    /// Whoever leads hands over.
    HandOver,
}

/// What happens to a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Spoil {
    Wipe,
    /// So many bytes are missing from the end of the log.
    Cut(u64),
}

/// What ends a trouble.
#[derive(Clone, Debug)]
pub(crate) enum End {
    Start(usize),
    Resume(usize),
    Mend(Vec<(usize, usize)>),
    Calm,
    FastDisk(usize),
}

/// A trouble, how long it lasts in milliseconds, and how it ends.
pub(crate) type Trouble = (Fault, u64, Option<End>);

/// Draws what goes wrong at one moment. `leader` is who leads, if it is known.
pub(crate) fn draw(dice: &mut StdRng, masters: usize, leader: Option<usize>) -> Vec<Trouble> {
    if dice.random_ratio(1, 10) {
        return all_but_one(dice, masters, leader.unwrap_or(0));
    }
    let trouble = one(dice, masters, leader);
    if let (Fault::HandOver, Some(leader)) = (&trouble.0, leader)
        && dice.random_bool(0.7)
    {
        // Whoever hands over does not hear that it is done.
        let ways: Vec<_> =
            (0..masters).filter(|other| *other != leader).map(|other| (other, leader)).collect();
        let deaf = (Fault::Cut(ways.clone()), dice.random_range(100..1000), Some(End::Mend(ways)));
        return vec![trouble, deaf];
    }
    vec![trouble]
}

/// One is cut off, and the others crash and are back soon: what they promised it must hold.
fn all_but_one(dice: &mut StdRng, masters: usize, one: usize) -> Vec<Trouble> {
    let others: Vec<usize> = (0..masters).filter(|other| *other != one).collect();
    let ways: Vec<_> = others.iter().flat_map(|other| [(one, *other), (*other, one)]).collect();
    let mut troubles = vec![(Fault::Cut(ways.clone()), dice.random_range(200..1500), Some(End::Mend(ways)))];
    for master in others {
        let fault = Fault::Crash { master, calls: None, loss: loss(dice) };
        troubles.push((fault, dice.random_range(2..60), Some(End::Start(master))));
    }
    troubles
}

fn loss(dice: &mut StdRng) -> Loss {
    match dice.random_range(0..4) {
        0 => Loss::Nothing,
        1 => Loss::Everything,
        2 => Loss::Tail,
        _ => Loss::Some,
    }
}

fn one(dice: &mut StdRng, masters: usize, leader: Option<usize>) -> Trouble {
    let any = dice.random_range(0..masters);
    // Who leads has most to lose.
    let victim = leader.filter(|_| dice.random_bool(0.7)).unwrap_or(any);
    match dice.random_range(0..16) {
        0..=3 => {
            let loss = loss(dice);
            let calls = dice.random_bool(0.5).then(|| dice.random_range(0..40));
            let fault = Fault::Crash { master: victim, calls, loss };
            (fault, dice.random_range(10..2000), Some(End::Start(victim)))
        }
        4..=5 => {
            let time =
                if dice.random_bool(0.5) { dice.random_range(50..400) } else { dice.random_range(400..2500) };
            (Fault::Pause(victim), time, Some(End::Resume(victim)))
        }
        6..=9 => {
            let cut = cut(dice, masters, victim);
            (Fault::Cut(cut.clone()), dice.random_range(100..2500), Some(End::Mend(cut)))
        }
        10..=11 => {
            let most = dice.random_range(5..120);
            let weather = Weather {
                delay: (1, most),
                late_one_in: 20,
                late: (most, most * 10),
                loss: f64::from(dice.random_range(0..30u32)) / 100.0,
                twice: 0.1,
            };
            (Fault::Weather(weather), dice.random_range(300..3000), Some(End::Calm))
        }
        12 => {
            let slowest = dice.random_range(20..600);
            (Fault::SlowDisk(victim, (5, slowest)), dice.random_range(300..3000), Some(End::FastDisk(victim)))
        }
        13 => {
            let how = if dice.random_bool(0.5) { Spoil::Wipe } else { Spoil::Cut(dice.random_range(1..600)) };
            (Fault::Spoil { master: victim, how }, dice.random_range(10..1500), Some(End::Start(victim)))
        }
        _ => (Fault::HandOver, 0, None),
    }
}

fn cut(dice: &mut StdRng, masters: usize, victim: usize) -> Vec<(usize, usize)> {
    let others = (0..masters).filter(|other| *other != victim);
    match dice.random_range(0..6) {
        // Alone.
        0..=2 => others.flat_map(|other| [(victim, other), (other, victim)]).collect(),
        // It hears and is not heard.
        3 => others.map(|other| (victim, other)).collect(),
        // It is heard and hears nothing.
        4 => others.map(|other| (other, victim)).collect(),
        // Some ways, either direction.
        _ => {
            let ways = (0..masters).flat_map(|from| (0..masters).map(move |to| (from, to)));
            ways.filter(|(from, to)| from != to && dice.random_bool(0.4)).collect()
        }
    }
}
