//! GooseFS on Kubernetes.
//!
//! [`crd`] has the custom resources, [`csi`] is the node plugin that shows a runtime's mount to pods.

pub mod crd;
pub mod csi;
