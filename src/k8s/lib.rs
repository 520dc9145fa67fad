//! GooseFS on Kubernetes.
//!
//! [`crd`] has the custom resources, [`controller`] makes of them what they ask for, [`csi`] is the node plugin that shows a
//! runtime's mount to pods, [`offer()`] hands a backup to masters, [`cache_runtime`] reads what Fluid says of a cluster that
//! it runs itself.

pub mod cache_runtime;
pub mod controller;
pub mod crd;
pub mod csi;
mod offer;

pub use offer::offer;
