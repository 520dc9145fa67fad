//! What a worker does by itself, all the time.

mod evict;
mod persisted;
mod tick;

pub(crate) use persisted::make_way;

use crate::node::Node;
use std::sync::Arc;

/// Starts all of it.
pub(crate) fn start(node: &Arc<Node>) {
    evict::start(node);
    persisted::start(node);
    tick::start(node);
}
