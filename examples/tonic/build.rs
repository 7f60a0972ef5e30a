//! Turns the `.proto` file into code, and lists the paths of its methods: the routes.

#![allow(clippy::print_stdout, reason = "cargo listens")]

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto/demo.proto");
    let files = protox::compile(["proto/demo.proto"], ["proto"])?;
    let mut paths = Vec::new();
    for file in &files.file {
        for service in &file.service {
            for method in &service.method {
                let (package, service) = (file.package(), service.name());
                paths.push(format!("/{package}.{service}/{}", method.name()));
            }
        }
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo says where to write")?);
    std::fs::write(out.join("paths.rs"), format!("&{paths:?}"))?;
    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}
