//! Masters in a simulation: the real Raft node, journal and namespace, several of each on one thread, in a time, over a
//! network and on disks of the test's making.
//!
//! **What is real**: everything from `Journal::propose` and `Journal::read` down: openraft with our settings, identity and
//! first start, proposals, the leader's lease, our log store over raft-engine, the acknowledgement mark, snapshots, gRPC
//! messages and what is checked of them, the namespace. **What is simulated**: threads (`ground`: the log's writer, who
//! applies, and blocking work get their turn from the simulation), the network below a gRPC call (`network`: delayed,
//! lost, late, overtaking, twice, cut in one or both directions), clocks (`kernel`: each master's own, a little fast or
//! slow), chance, and what a disk keeps (`disk`: a crash loses or tears what was not synced, and may come in the middle
//! of any call). **What is left out**: HTTP/2 and TCP, the master's services above the journal, errors of a disk, names
//! of files that are lost in a crash, and two threads at once.
//!
//! **What is checked**, all the while: never two masters hold the leader's lease; a read under it sees everything that
//! was acknowledged before; a master that says it has caught up has it too; nothing fails that must not. At the end, with
//! all trouble gone: there is progress, every replica has the same bytes, and in them is everything that was
//! acknowledged, exactly once. Leaders are told apart by term *and* node (openraft's advanced leader ids): a term may see
//! two, one after the other.
//!
//! **Seeds.** A schedule is drawn from its seed alone and runs on one thread, so a seed that fails fails again, step by
//! step: a test compares the traces of two runs. `SIM_SEED=n cargo test -p goosefs-sim -- --nocapture` runs one,
//! `SIM_TRACE=1` with all that happens in it; `SIM_SECONDS=n` goes on for so long (`make sim`), `SIM_FROM=n` from a seed.

#![cfg(test)]
#![allow(clippy::unwrap_used)]

mod client;
mod disk;
mod faults;
mod ground;
mod kernel;
mod network;
mod process;
mod tests;
mod world;
