//! Waiting for conditions.

use std::time::Duration;
use tokio::time::Instant;

/// How long a test waits for what must happen, on a machine that is busy with other tests.
pub const LONG: Duration = Duration::from_secs(90);

/// Looks at `condition` until it holds.
///
/// # Errors
/// Naming `what`, when it does not hold within [`LONG`].
pub async fn wait_until<W: Future<Output = bool>>(
    what: &str,
    mut condition: impl FnMut() -> W,
) -> anyhow::Result<()> {
    let until = Instant::now() + LONG;
    while !condition().await {
        anyhow::ensure!(Instant::now() < until, "waited {LONG:?} in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// As [`wait_until`], for tests without a runtime.
///
/// # Panics
/// Naming `what`, when it does not hold within [`LONG`].
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + LONG;
    while !condition() {
        assert!(std::time::Instant::now() < until, "waited {LONG:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
