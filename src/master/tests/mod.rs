//! Whole masters in one process, with real Raft, real ports and a local under-storage.

mod backup;
mod cluster;
mod effects;
mod failover;
mod frames;
mod loading;
mod paths;
mod persisting;
mod worker;
