//! Tells the library's sources that they are built for the scheduler of threads.

fn main() {
    println!("cargo::rustc-cfg=soloist_shuttle");
    println!("cargo::rerun-if-changed=build.rs");
}
