//! Reading file data: from the local worker's own files where possible, else from workers' streams.
//!
//! | file | owns |
//! |---|---|
//! | `reader.rs` | [`Reader`]: one version of one file, sequential detection, what was fetched ahead |
//! | `fetch.rs` | a range from whichever worker can serve it |
//! | `channels.rs` | framed connections to workers |
//! | `in_file.rs` | bytes out of the container that a worker on this machine is filling |
//! | `local.rs` | [`LocalFile`]: descriptors of whole cached files, and the leases kept after release |

mod ahead;
pub(crate) mod channels;
pub(crate) mod fetch;
mod in_file;
pub(crate) mod local;
mod reader;

pub use local::LocalFile;
pub use reader::Reader;
pub(crate) use reader::Readers;
