//! What every connector that speaks HTTP does alike: connections, pauses between tries, and transfers that go on.

use crate::tls;
use crate::wrap::Backoff;
use goosefs_core::{Code, Error, Result};
use std::path::Path;
use std::time::Duration;

/// The first pause before something is sent again; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// A broken transfer that brought this much counts as progress: the number of tries starts again.
const PROGRESS: u64 = 1 << 20;

/// Connections that are kept and used again; what they carry is sent once and led nowhere else. Whom they trust is as
/// [`tls::config`] says.
///
/// Errors: those of [`tls::config`].
pub(crate) fn connections(
    secure: bool,
    ca_file: Option<&Path>,
    ca_option: &str,
    connect_timeout: Duration,
) -> Result<reqwest::ClientBuilder> {
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(tls::config(secure, ca_file, ca_option)?)
        // One connection a stream: HTTP/2 would put all ranges of a fill behind one TCP window.
        .http1_only()
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(Duration::from_secs(60))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .user_agent(concat!("goosefs/", env!("CARGO_PKG_VERSION"))))
}

/// Errors: `Internal`.
pub(crate) fn built(connections: reqwest::ClientBuilder) -> Result<reqwest::Client> {
    let failed = |cause| Error::new(Code::Internal, "HTTP cannot be set up").caused_by(cause);
    connections.build().map_err(failed)
}

/// The pauses between tries of one request or transfer.
pub(crate) fn backoff(retries: u32) -> Backoff {
    Backoff::new(retries, FIRST_PAUSE, LONGEST_PAUSE)
}

/// Tries of a transfer that may break off: as many again whenever it has got on.
pub(crate) struct Tries {
    all: Backoff,
    left: Backoff,
    from: u64,
}

impl Tries {
    /// Of a transfer that begins at byte `at`.
    pub(crate) fn new(backoff: Backoff, at: u64) -> Tries {
        Tries { all: backoff.clone(), left: backoff, from: at }
    }

    /// Pauses before a transfer that broke off at byte `at` goes on there; false when no try is left.
    pub(crate) async fn again(&mut self, at: u64) -> bool {
        if at - self.from >= PROGRESS {
            self.left = self.all.clone();
            self.from = at;
        }
        self.left.pause(None).await
    }
}
