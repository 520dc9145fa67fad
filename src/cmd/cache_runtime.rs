//! `goosefs cache-runtime`: what containers of a cluster that Fluid runs as a CacheRuntime do.

use super::{connection, out};
use crate::cli::CacheRuntimeCommand;
use goosefs_client::Client;
use goosefs_core::{Code, Error, Result};
use goosefs_k8s::cache_runtime::{Files, Part, files, mounted, summary};
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::Instant;

/// Fluid gives up on a command after two minutes.
const PATIENCE: Duration = Duration::from_secs(100);

/// Between two looks at the mount table.
const LOOK: Duration = Duration::from_millis(300);

pub(super) fn run(command: &CacheRuntimeCommand, define: Vec<String>) -> ExitCode {
    match command {
        CacheRuntimeCommand::Configure => match configure() {
            Ok(_) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        },
        CacheRuntimeCommand::Mounted => match configure() {
            Ok(files) => connection::run(define, async |client| wait(client, &files.paths).await),
            Err(error) => failed(&error),
        },
        CacheRuntimeCommand::Summary => connection::run(define, async |client| {
            let workers = client.workers().await?;
            let live = || workers.iter().filter(|worker| worker.live);
            let used = live().map(|worker| worker.used).sum();
            out::line(&summary(used, live().map(|worker| worker.capacity).sum()).to_string());
            Ok(())
        }),
    }
}

/// Standard output is Fluid's.
fn failed(error: &Error) -> ExitCode {
    eprintln!("goosefs cache-runtime: {error}");
    ExitCode::FAILURE
}

/// Writes the files anew where they differ.
fn configure() -> Result<Files> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let described = variable("FLUID_RUNTIME_CONFIG_PATH");
    if described.is_empty() {
        return Err(Error::new(Code::InvalidArgument, "FLUID_RUNTIME_CONFIG_PATH is not set")
            .hint("this is for containers of a CacheRuntime, where Fluid sets it"));
    }
    let home = Some(variable("GOOSEFS_HOME")).filter(|home| !home.is_empty());
    let home = home.unwrap_or_else(|| "/opt/goosefs".to_owned());
    let read =
        |file: &str| fs::read_to_string(file).map_err(|error| Error::io(format!("read {file}"), error));
    let part = Part::from_word(&variable("FLUID_RUNTIME_COMPONENT_TYPE"));
    let files = files(&read(&described)?, part, &home, read)?;
    write(&Path::new(&home).join("conf/goosefs-site.properties"), &files.properties)?;
    if let Some(mounts) = &files.mounts {
        write(&Path::new(&home).join("mounts/mounts.json"), mounts)?;
    }
    Ok(files)
}

/// Replaces a file as a whole; keys of storages may be in it.
fn write(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let failed = |error| Error::io(format!("write {}", path.display()), error);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let part = path.with_extension("part");
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&part).map_err(failed)?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(failed)?;
    fs::rename(&part, path).map_err(failed)
}

async fn wait(client: &Client, wanted: &[String]) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let table: Vec<String> = client.admin().mounts().await?.into_keys().collect();
        let missing: Vec<&String> = wanted.iter().filter(|path| !table.contains(path)).collect();
        if missing.is_empty() || Instant::now() >= until {
            out::line(&mounted(wanted, &table).to_string());
            if !missing.is_empty() {
                eprintln!("goosefs cache-runtime: not mounted yet, the leader's log says why: {missing:?}");
            }
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}
