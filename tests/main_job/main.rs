//! The main job under trouble, with real processes started by `goosefs dev`. That trees read whole and stay cached is in
//! `tests/dev`.
//!
//! | file | proves |
//! |---|---|
//! | `copies` | what `cp -p` and `tar` keep of files is kept |
//! | `replaced` | a file that is replaced on the server is never read as a mix |
//! | `kills` | readers and writers do not mind the death of leaders and workers |

// In the suite's own functions, too, a failure is a failed test.
#![allow(clippy::unwrap_used)]

mod copies;
mod kills;
mod replaced;

use goosefs_harness::Launch;
use goosefs_ufs::testing::{Page, Serving, or_skip};
use std::path::Path;

/// A launch with a mount; `None`, said aloud, where mounting is not possible.
fn launch(test: &str) -> Option<Launch> {
    if !nix::unistd::geteuid().is_root() || !Path::new("/dev/fuse").exists() {
        assert!(std::env::var_os("GOOSEFS_TEST_REQUIRE_ALL").is_none(), "{test} needs root and /dev/fuse");
        eprintln!("SKIPPED {test}: it needs root and /dev/fuse");
        return None;
    }
    Some(Launch { fuse: true, ..Launch::new(env!("CARGO_BIN_EXE_goosefs")) })
}

/// A web server over `root`; `None`, said aloud, where it is not installed.
fn serve(test: &str, root: &Path, page: Page) -> Option<Serving> {
    or_skip(test, Serving::of(root, page).start())
}
