//! A process that ends without a word.

use soloist::Client;
use tokio::runtime::{Builder, Runtime};

use crate::fleet::Fleet;

/// A client whose background work can be ended like that of a killed process: nothing more is renewed,
/// nothing is released.
pub struct Doomed {
    pub client: Client,
    runtime: Option<Runtime>,
}

impl Doomed {
    pub async fn new(fleet: &Fleet, holder: &str) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        // Its connections and its keeper live on a runtime of their own, as in another process.
        let client = tokio::task::block_in_place(|| runtime.block_on(fleet.client(holder)));
        Doomed { client, runtime: Some(runtime) }
    }

    /// Ends the process. Drop what it held after this.
    pub fn die(self) {}
}

impl Drop for Doomed {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
