//! What tests of this and other crates need: real web and S3 servers over a directory, and a tree of awkward names.
//!
//! Behind the feature `testing`; nothing of it is in the product.

mod s3;
mod scripted;
mod serving;
mod tree;

pub use s3::{S3Server, Speaks};
pub use scripted::{Answer, Request, Scripted};
pub use serving::{Page, Serving, ServingBuilder};
pub(crate) use tree::pattern;
pub use tree::{Tree, awkward_names};

use goosefs_core::{Code, Result};

/// When set (to anything), a test whose server or program is missing fails instead of being skipped.
pub const REQUIRE_ALL: &str = "GOOSEFS_TEST_REQUIRE_ALL";

/// Gives what `outcome` has, or says aloud that `test` is skipped because a program is missing (`Unimplemented`).
///
/// # Panics
/// When [`REQUIRE_ALL`] is set and something is missing, and for any other error.
pub fn or_skip<T>(test: &str, outcome: Result<T>) -> Option<T> {
    match outcome {
        Ok(value) => Some(value),
        Err(error) if error.code == Code::Unimplemented && std::env::var_os(REQUIRE_ALL).is_none() => {
            eprintln!("SKIPPED {test}: {error}");
            None
        }
        Err(error) => panic!("{test}: {error}"),
    }
}
