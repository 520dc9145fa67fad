//! The main job with real processes: masters, workers and a mount over real web servers, started by `goosefs dev`.
//!
//! | file | proves |
//! |---|---|
//! | `web_tree` | a tree with awkward names reads whole, and stays cached through a stop and through kill -9 of everything |
//! | `replaced` | a file that is replaced on the server is never read as a mix |
//! | `kills` | readers and writers do not mind the death of leaders and workers |

mod kills;
mod replaced;
mod web_tree;

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

/// Requests for the data of files, not for listings or attributes.
fn data_requests(server: &Serving) -> Vec<String> {
    let of_files = |line: &String| line.contains("GET ") && !line.contains("/ HTTP");
    server.requests().into_iter().filter(of_files).collect()
}

/// Drops what the kernel has cached of files and directories.
fn drop_kernel_caches() {
    nix::unistd::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
}
