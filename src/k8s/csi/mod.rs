//! The CSI node plugin: what kubelet asks of a driver on the node where a pod uses a Dataset's volume.
