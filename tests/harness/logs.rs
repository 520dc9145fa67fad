//! Reading the logs of nodes.

use std::collections::BTreeMap;
use std::path::Path;

/// What a busy machine makes of a healthy cluster: masters that start wait for each other, Raft speaks of lateness and of
/// messages that an election overtook, and a disk that all share keeps a log waiting.
const BUSY: [&str; 4] = [
    "this master waits",
    "failed to send a heartbeat",
    "will be ignored because Leader vote changed",
    "the disk of the Raft log does not answer",
];

/// Lines that say WARN or ERROR, or tell of a panic, and contain nothing of `allowed`; each with its log's name.
pub(crate) fn unexpected(folder: &Path, allowed: &[String]) -> std::io::Result<Vec<String>> {
    let mut found = Vec::new();
    for (name, text) in all(folder)? {
        let bad = text.lines().filter(|line| is_bad(line));
        let unknown = bad.filter(|line| {
            !BUSY.iter().copied().chain(allowed.iter().map(String::as_str)).any(|text| line.contains(text))
        });
        found.extend(unknown.map(|line| format!("{name}: {line}")));
    }
    Ok(found)
}

fn is_bad(line: &str) -> bool {
    let level = line.split_whitespace().nth(1);
    matches!(level, Some("WARN" | "ERROR")) || line.contains("panicked at") || line.starts_with("goosefs ")
}

/// What of the logs helps to see why a test failed: the last lines of each, without the chatter of Raft.
pub(crate) fn digest(folder: &Path) -> String {
    let mut text = String::new();
    for (name, log) in all(folder).unwrap_or_default() {
        text += &format!("--- {name}\n");
        let lines: Vec<&str> = log.lines().filter(|line| !line.contains(" INFO openraft")).collect();
        for line in &lines[lines.len().saturating_sub(40)..] {
            text += &format!("{}\n", line.chars().take(500).collect::<String>());
        }
    }
    text
}

/// The last lines of one log.
pub(crate) fn tail(log: &Path, count: usize) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn all(folder: &Path) -> std::io::Result<BTreeMap<String, String>> {
    let mut logs = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let text = String::from_utf8_lossy(&std::fs::read(entry.path())?).into_owned();
        logs.insert(entry.file_name().to_string_lossy().into_owned(), text);
    }
    Ok(logs)
}
