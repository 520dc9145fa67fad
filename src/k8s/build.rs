//! Compiles what kubelet speaks with protox, so that no system protoc is needed.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    // Asked of cargo at run time: a kept target folder may hold a build script that another clone compiled.
    let own = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let root = own.join("../../proto");
    let mut files = vec![root.join("csi/csi.proto"), root.join("kubelet/registration.proto")];
    let tests = own.join("csi/testing");
    let testing = std::env::var_os("CARGO_FEATURE_TESTING").is_some();
    if testing {
        files.push(tests.join("controller.proto"));
    }
    for file in &files {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    let descriptors = protox::compile(&files, [&root, &tests])?;
    let mut config = prost_build::Config::new();
    config.include_file("kubelet.rs");
    tonic_prost_build::configure().build_client(testing).compile_fds_with_config(descriptors, config)?;
    Ok(())
}
