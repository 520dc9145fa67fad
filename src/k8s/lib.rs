//! GooseFS on Kubernetes.
//!
//! [`crd`] has the custom resources, [`controller`] makes of them what they ask for, [`csi`] is the node plugin that shows a
//! runtime's mount to pods, [`offer()`] hands a backup to masters.

pub mod controller;
pub mod crd;
pub mod csi;
mod offer;

pub use offer::offer;
