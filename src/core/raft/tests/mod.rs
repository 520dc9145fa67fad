//! Whole nodes over loopback TCP, several in one process.

mod cluster;
mod failover;
mod toy;
