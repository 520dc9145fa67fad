//! `make failover`: three real masters lose their leader again and again while clients write and read.
//!
//! A round takes the leader away by a fault drawn at random: kill -9, SIGSTOP for five seconds, cut off from its peers
//! (and, half the time, from clients too). Then rounds of SIGTERM, where leadership is handed over. Written down is, for
//! each writing client and round, the slowest operation that was under way between the fault and the time when all
//! masters serve again: its *gap*. Between rounds writers pause; then all masters' copies of the namespace must be the
//! same, byte by byte at the same log index, and hold what was acknowledged and nothing else.
//!
//! | file | what |
//! |---|---|
//! | `load` | clients that write and read, and what they were told |
//! | `direct` | reads that go to one master whether it leads or not, queued even while it is stopped |
//! | `rounds` | faults, repairs, checks |
//! | `report` | figures, and whether they hold |
//!
//! The exit code is not 0 when a limit is broken.

mod direct;
mod load;
mod report;
mod rounds;

use clap::Parser;
use rounds::{Fault, Rounds};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Loses leaders and counts what that costs.
#[derive(Parser, Debug)]
struct Args {
    /// The binary under test; an optimised build.
    #[arg(long)]
    binary: PathBuf,
    /// Where the journals lie; a folder below it is made and removed.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Rounds in which the leader is lost.
    #[arg(long, default_value_t = 100)]
    rounds: usize,
    /// Rounds in which the leader is asked to stop.
    #[arg(long, default_value_t = 20)]
    hand_overs: usize,
    /// Which faults and when; drawn at random when not given, and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Writing clients, each with connections and a session of its own.
    #[arg(long, default_value_t = 32)]
    writers: usize,
    /// Reading clients.
    #[arg(long, default_value_t = 8)]
    readers: usize,
    /// Faults to draw from.
    #[arg(long, value_delimiter = ',', value_enum, default_value = "kill,stop,cut")]
    faults: Vec<Fault>,
    /// The most that 99 of 100 gaps may last when a leader is lost, in milliseconds.
    #[arg(long, default_value_t = 1000)]
    limit: u64,
    /// The most that 99 of 100 gaps may last when a leader hands over, in milliseconds.
    #[arg(long, default_value_t = 100)]
    hand_over_limit: u64,
    /// Further flags of every master, such as -Dgoosefs.logs.level=debug.
    #[arg(last = true)]
    master: Vec<String>,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let held = runtime.block_on(run(&args))?;
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn run(args: &Args) -> anyhow::Result<bool> {
    let seed = args.seed.unwrap_or_else(rand::random);
    println!("seed {seed}; {}", report::machine());
    let mut rounds = Rounds::start(args, seed).await?;
    let faults = rounds.draw(&args.faults, args.rounds);
    let (mut lost, mut handed) = (report::Gaps::default(), report::Gaps::default());
    let played = async {
        for (number, fault) in faults.into_iter().enumerate() {
            rounds.lose_leader(number, fault, &mut lost).await?;
        }
        for number in 0..args.hand_overs {
            rounds.hand_over(number, &mut handed).await?;
        }
        anyhow::Ok(())
    };
    if let Err(error) = played.await {
        println!("the masters' logs are kept in {}", rounds.keep().display());
        return Err(error);
    }
    let held = rounds.end().await?;
    println!("load {}", report::machine());
    let limits = [
        lost.print("leader lost", Duration::from_millis(args.limit)),
        handed.print("leader asked to stop (SIGTERM)", Duration::from_millis(args.hand_over_limit)),
    ];
    Ok(held.print() && limits == [true, true])
}
