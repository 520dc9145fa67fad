//! A namespace of a million files through the real RPC path: memory per inode, operations per second and what bounds them,
//! how long a master takes to come back, and how long writers wait while an image is taken.
//!
//! | file | what |
//! |---|---|
//! | `load` | the files |
//! | `rates` | operations per second by 1, 16 and 64 callers |
//! | `cost` | what an operation costs on each side, and so what bounds its number |
//! | `recovery` | restart, a wiped follower, the pause for an image |
//! | `steady` | whether there is an election that nobody wanted in minutes of the full load |
//! | `process` | one master's process and metrics |

mod cost;
mod load;
mod process;
mod rates;
mod recovery;
mod steady;

use crate::creates::client;
use crate::dev::Dev;
use crate::report;
use cost::Meter;
use goosefs_client::Client;
use load::Files;
use process::Master;
use rates::Rates;
use std::path::Path;
use std::time::Duration;

/// What memory may do before it is looked at.
const REST: Duration = Duration::from_secs(10);

/// Starts a cluster of its own, without FUSE, and prints the table; of the rates only those of `operations`, unless it is
/// empty.
pub(crate) async fn run(
    binary: &Path,
    folder: &Path,
    files: u64,
    operations: &[String],
) -> anyhow::Result<()> {
    let dev = Dev::start(binary, &folder.join("scale"), &["--no-fuse".to_owned()])?;
    let clients: Vec<Client> = (0..load::CALLERS).map(|_| client(&dev)).collect();
    println!(
        "\nnamespace of {files} files, three durable masters, one worker and all callers on this machine"
    );
    let masters = Master::all(&dev.dir)?;
    let meter = Meter::new(&masters, &clients[0].leader().await?)?;
    let before = memory(&dev)?;
    let files = Files::create(&clients, &meter, files).await?;
    grown(&dev, &before, &files, "while they are being written").await?;
    files.complete(&clients, &meter).await?;
    grown(&dev, &before, &files, "when they are complete").await?;
    Rates { clients: &clients, meter: &meter, only: operations }.run(&files, folder).await?;
    recovery::run(&dev, &clients, &files).await?;
    end(dev, clients).await
}

/// Loads a cluster of its own for `time`.
///
/// # Errors
/// When there was an election.
pub(crate) async fn steady(binary: &Path, folder: &Path, files: u64, time: Duration) -> anyhow::Result<()> {
    let dev = Dev::start(binary, &folder.join("steady"), &["--no-fuse".to_owned()])?;
    let clients: Vec<Client> = (0..load::CALLERS).map(|_| client(&dev)).collect();
    println!("\nsteady: {files} files, three durable masters, one worker and all callers on this machine");
    let masters = Master::all(&dev.dir)?;
    let meter = Meter::new(&masters, &clients[0].leader().await?)?;
    let files = Files::create(&clients, &meter, files).await?;
    steady::run(&masters, &clients, files, time).await?;
    end(dev, clients).await
}

async fn end(dev: Dev, clients: Vec<Client>) -> anyhow::Result<()> {
    for client in clients {
        client.shutdown(Duration::from_secs(5)).await;
    }
    dev.stop()
}

/// Prints what each master holds, after a rest.
async fn grown(dev: &Dev, before: &[(String, f64)], files: &Files, when: &str) -> anyhow::Result<()> {
    tokio::time::sleep(REST).await;
    for (name, bytes) in memory(dev)? {
        let empty = before.iter().find(|(other, _)| *other == name).map_or(0.0, |(_, bytes)| *bytes);
        let more = (bytes - empty) / files.len() as f64;
        println!("  {name:<10} {:>8.1} MB resident, {more:>6.0} bytes more per file {when}", bytes / 1e6);
    }
    Ok(())
}

/// Resident bytes of each master.
fn memory(dev: &Dev) -> anyhow::Result<Vec<(String, f64)>> {
    let processes = dev.processes()?.into_iter().filter(|process| process.name.starts_with("master"));
    processes.map(|process| Ok((process.name, report::resident(process.pid)?))).collect()
}
