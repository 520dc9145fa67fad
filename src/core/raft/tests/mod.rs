//! Whole nodes over loopback TCP, several in one process.

mod cluster;
mod failover;
mod rejoin;
mod snapshots;
mod toy;
