//! Generates the types of `proto/` with a compiler written in Rust, so that no `protoc` has to be installed.

use std::{env, error::Error, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let files = protox::compile(
        [
            root.join("norikv/v1/norikv.proto"),
            root.join("norikv/ext/v1/store.proto"),
            root.join("norikv/ext/v1/lease.proto"),
            root.join("norikv/ext/v1/watch.proto"),
            root.join("norikv/ext/v1/streams.proto"),
            root.join("norikv/ext/v1/vectors.proto"),
        ],
        [&root],
    )?;
    let services = env::var_os("CARGO_FEATURE_SERVICES").is_some();
    tonic_prost_build::configure()
        .bytes(".")
        .build_client(false)
        .build_server(services)
        .build_transport(false)
        .compile_fds(files)?;
    Ok(())
}
