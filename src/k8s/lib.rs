//! GooseFS on Kubernetes.
//!
//! [`crd`] has the custom resources, [`controller`] makes of them what they ask for, [`csi`] is the node plugin that shows a
//! runtime's mount to pods.

pub mod controller;
pub mod crd;
pub mod csi;
