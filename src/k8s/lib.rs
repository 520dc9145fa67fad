//! GooseFS on Kubernetes.
//!
//! [`csi`] is the node plugin that shows a runtime's mount to pods.

pub mod csi;
