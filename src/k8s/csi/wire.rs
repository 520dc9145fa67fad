//! The messages of `proto/csi` and `proto/kubelet`, generated at build time.

#[allow(non_camel_case_types, missing_docs, clippy::all, clippy::pedantic, unreachable_pub, rustdoc::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/kubelet.rs"));
}

pub use generated::csi::v1 as csi;
pub use generated::pluginregistration as registration;
