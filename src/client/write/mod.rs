//! Writing file data: one sequential stream to a worker, that survives the worker's death as far as bytes can.
//!
//! | file | owns |
//! |---|---|
//! | `writer.rs` | [`Writer`]: the stream, its failover, sync and close |
//! | `window.rs` | what was written and not committed yet |

mod window;
mod writer;

pub use writer::Writer;
pub(crate) use writer::Writers;
