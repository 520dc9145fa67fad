//! `goosefs csi` as kubelet meets it: the real process, its socket, real mounts.
//!
//! They need root and `/dev/fuse`; elsewhere they say so and pass. `sanity` also needs the binary of csi-sanity, which
//! `tests/k8s/cluster/build` makes.

// In the suite's own functions, too, a failure is a failed test.
#![allow(clippy::unwrap_used)]

mod plugin;

mod epoch;
mod parked;
mod registrar;
mod sanity;
mod volumes;
