//! Builds the library that stands between a process and its files.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=shim/disk.c");
    println!("cargo::rerun-if-env-changed=CC");
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let shim = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it")).join("libdisk.so");
    let built = Command::new(compiler)
        .args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"])
        .arg(&shim)
        .args(["shim/disk.c", "-lpthread"])
        .status()
        .expect("a C compiler");
    assert!(built.success(), "shim/disk.c was not built");
    println!("cargo::rustc-env=KEYHASP_DISK_SHIM={}", shim.display());
}
