//! Real mounts over a namespace in memory: what programs see, and the kernel's rules of passthrough.
//!
//! They need root and `/dev/fuse`; elsewhere they say so and pass. Every mount has a guard that aborts its own
//! connection, so that no test can hang for ever or leave a mount behind.

mod mounted;

mod cluster;
mod full;
mod idmapped;
mod kernel_rules;
mod lifecycle;
mod nameless;
mod names;
mod reading;
mod writing;
