//! A folder of a test's own.

use std::path::{Path, PathBuf};

/// A folder that nobody else may enter; dropping it removes it.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    #[allow(clippy::expect_used, reason = "the kit panics when it cannot work")]
    pub(super) fn new() -> Self {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!("soloist-{:032x}", crate::Ticket::mint().as_u128()));
        std::fs::DirBuilder::new().mode(0o700).create(&path).expect("a folder for the test");
        Scratch(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
