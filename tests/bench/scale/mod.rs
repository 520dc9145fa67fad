//! A namespace of a million files through the real RPC path: memory per inode, operations per second, how long a master
//! takes to come back, and how long writers wait while an image is taken.

mod load;
mod process;
mod rates;
mod recovery;

use crate::creates::client;
use crate::dev::Dev;
use crate::report;
use goosefs_client::Client;
use load::Files;
use std::path::Path;
use std::time::Duration;

/// What memory may do before it is looked at.
const REST: Duration = Duration::from_secs(10);

/// Starts a cluster of its own, without FUSE, and prints the table.
pub(crate) async fn run(binary: &Path, folder: &Path, files: u64) -> anyhow::Result<()> {
    let dev = Dev::start(binary, &folder.join("scale"), &["--no-fuse".to_owned()])?;
    let clients: Vec<Client> = (0..load::CALLERS).map(|_| client(&dev)).collect();
    println!(
        "\nnamespace of {files} files, three durable masters, one worker and all callers on this machine"
    );
    let before = memory(&dev)?;
    let files = Files::create(&clients, files).await?;
    tokio::time::sleep(REST).await;
    for (name, bytes) in memory(&dev)? {
        let empty = before.iter().find(|(other, _)| *other == name).map_or(0.0, |(_, bytes)| *bytes);
        let more = (bytes - empty) / files.len() as f64;
        println!("  {name:<10} {:>8.1} MB resident, {more:>6.0} bytes more per file", bytes / 1e6);
    }
    rates::run(&clients, &files, folder).await?;
    recovery::run(&dev, &clients, &files).await?;
    for client in clients {
        client.shutdown(Duration::from_secs(5)).await;
    }
    dev.stop()
}

/// Resident bytes of each master.
fn memory(dev: &Dev) -> anyhow::Result<Vec<(String, f64)>> {
    let processes = dev.processes()?.into_iter().filter(|process| process.name.starts_with("master"));
    processes.map(|process| Ok((process.name, report::resident(process.pid)?))).collect()
}
