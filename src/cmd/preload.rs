//! What several commands say of preloads: beginning one, following it, telling how far it is.

use super::print::{Progress, size};
use goosefs_client::Client;
use goosefs_core::clock::SystemClock;
use goosefs_core::path::NsPath;
use goosefs_core::proto::internal::{Preload, PreloadOptions, PreloadProgress, PreloadState};
use goosefs_core::{Code, Error, Result};
use std::time::Duration;

/// Between two looks at a job.
const PERIOD: Duration = Duration::from_millis(500);

/// A job's state, as `load --progress` names it.
pub(super) fn state(preload: &Preload) -> &'static str {
    match preload.state() {
        PreloadState::Running => "RUNNING",
        PreloadState::Succeeded => "SUCCEEDED",
        PreloadState::Failed => "FAILED",
        PreloadState::Stopped => "STOPPED",
    }
}

/// Begins to load `path`; the job that loads it already does as well. Says which, and whether it is new.
///
/// # Errors
/// The masters'.
pub(super) async fn begin(client: &Client, path: &NsPath, options: PreloadOptions) -> Result<(u64, bool)> {
    match client.preloads().submit(path, options).await {
        Ok(id) => Ok((id, true)),
        Err(error) if error.code == Code::AlreadyExists => {
            let running = client.preloads().of(path, false).await?;
            running.map(|preload| (preload.id, false)).ok_or(error)
        }
        Err(error) => Err(error),
    }
}

/// Waits for the end of a job, with a bar on a terminal. What keeps it from going on is told on standard error.
///
/// # Errors
/// The masters'.
pub(super) async fn follow(client: &Client, id: u64) -> Result<Preload> {
    let mut bar: Option<Progress> = None;
    let mut shown = 0;
    let mut told = String::new();
    loop {
        let preload = client.preloads().one(id, false).await?;
        if preload.state() != PreloadState::Running {
            drop(bar);
            return client.preloads().one(id, true).await;
        }
        if preload.reason != told {
            told = preload.reason;
            if !told.is_empty() {
                eprintln!("job {id}: {told}");
            }
        }
        let progress = preload.progress.unwrap_or_default();
        if progress.counted {
            let bar = bar.get_or_insert_with(|| Progress::bytes(progress.bytes, "loading"));
            bar.add(progress.loaded_bytes.saturating_sub(shown));
            shown = shown.max(progress.loaded_bytes);
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// How far a job is, in GooseFS's words.
pub(super) fn lines(preload: &Preload, verbose: bool) -> Vec<String> {
    let options = preload.options.unwrap_or_default();
    let progress = preload.progress.clone().unwrap_or_default();
    let bandwidth = match options.bandwidth {
        0 => "unlimited".to_owned(),
        bytes => format!("{}/s", size(bytes)),
    };
    let reason = if preload.reason.is_empty() { String::new() } else { format!(" ({})", preload.reason) };
    let out_of = if progress.counted { format!(" out of {}", size(progress.bytes)) } else { String::new() };
    let processed = progress.loaded + progress.failed;
    let failed = if processed == 0 { 0.0 } else { 100.0 * progress.failed as f64 / processed as f64 };
    let mut lines = vec![
        format!("Progress for loading path '{}':", preload.path),
        format!("\tSettings:\tbandwidth: {bandwidth}\tverify: false"),
        format!("\tJob State: {}{reason}", state(preload)),
        format!("\tFiles Processed: {processed}"),
        format!("\tBytes Loaded: {}{out_of}", size(progress.loaded_bytes)),
        format!("\tThroughput: {}/s", size(throughput(preload, &progress))),
        format!("\tBlock load failure rate: {failed:.2}%"),
        format!("\tFiles Failed: {}", progress.failed),
    ];
    if verbose {
        lines.extend(failures(preload).map(|line| format!("\t\t{line}")));
    }
    lines
}

/// The files that were not loaded, and why.
pub(super) fn failures(preload: &Preload) -> impl Iterator<Item = String> {
    let named = preload.failures.len() as u64;
    let failed = preload.progress.as_ref().map_or(0, |progress| progress.failed);
    let more = (failed > named).then(|| format!("and {} more", failed - named));
    preload.failures.iter().map(|one| format!("{}: {}", one.path, one.reason)).chain(more)
}

/// As [`lines`], for programs.
pub(super) fn json(preload: &Preload, verbose: bool) -> String {
    let progress = preload.progress.clone().unwrap_or_default();
    let failures: Vec<_> = preload
        .failures
        .iter()
        .filter(|_| verbose)
        .map(|one| serde_json::json!({"path": one.path, "reason": one.reason}))
        .collect();
    serde_json::json!({
        "jobId": preload.id,
        "path": preload.path,
        "jobState": state(preload),
        "failureReason": preload.reason,
        "filesTotal": progress.files,
        "bytesTotal": progress.bytes,
        "filesLoaded": progress.loaded,
        "filesCachedBefore": progress.cached_before,
        "filesFailed": progress.failed,
        "bytesLoaded": progress.loaded_bytes,
        "bytesFromStorage": progress.filled_bytes,
        "throughput": throughput(preload, &progress),
        "failures": failures,
    })
    .to_string()
}

/// Bytes a second over the job's life.
fn throughput(preload: &Preload, progress: &PreloadProgress) -> u64 {
    let until = if preload.ended_ms == 0 { SystemClock::shared().now_ms() } else { preload.ended_ms };
    progress.loaded_bytes * 1000 / until.saturating_sub(preload.begun_ms).max(1)
}

/// `100MB` as bytes.
///
/// # Errors
/// `InvalidArgument` naming the flag.
pub(super) fn bandwidth(text: Option<&str>) -> Result<u64> {
    let Some(text) = text else { return Ok(0) };
    goosefs_core::config::value::size(text).ok_or_else(|| {
        Error::new(Code::InvalidArgument, format!("--bandwidth {text} is not a size"))
            .hint("bytes a second, such as 100MB")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use goosefs_core::proto::internal::PreloadFailure;

    #[test]
    fn progress_has_goosefs_lines() {
        let mut preload = Preload {
            id: 7,
            path: "/p".into(),
            begun_ms: 1000,
            ended_ms: 3000,
            progress: Some(PreloadProgress {
                counted: true,
                files: 4,
                bytes: 20 << 20,
                loaded: 3,
                loaded_bytes: 10 << 20,
                failed: 1,
                ..Default::default()
            }),
            failures: vec![PreloadFailure { path: "/p/x".into(), reason: "gone".into() }],
            ..Preload::default()
        };
        preload.set_state(PreloadState::Failed);
        assert_eq!(
            lines(&preload, true),
            [
                "Progress for loading path '/p':",
                "\tSettings:\tbandwidth: unlimited\tverify: false",
                "\tJob State: FAILED",
                "\tFiles Processed: 4",
                "\tBytes Loaded: 10.00MB out of 20.00MB",
                "\tThroughput: 5120.00KB/s",
                "\tBlock load failure rate: 25.00%",
                "\tFiles Failed: 1",
                "\t\t/p/x: gone",
            ]
        );
    }
}
