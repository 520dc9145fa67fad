//! Whole nodes over loopback TCP, several in one process.

mod cluster;
mod conformance;
mod failover;
mod rejoin;
mod snapshots;
mod throughput;
mod toy;
