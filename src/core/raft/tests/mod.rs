//! Whole nodes over loopback TCP, several in one process.

mod backups;
mod cluster;
mod conformance;
mod disk;
mod failover;
mod members;
mod network;
mod processes;
mod rejoin;
mod snapshots;
mod throughput;
mod toy;
