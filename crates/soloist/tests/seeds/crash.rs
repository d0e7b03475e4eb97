//! A process that ends without a word.

use soloist::Client;

use crate::fleet::Fleet;

/// A client whose background work can be ended like that of a killed process: nothing more is renewed,
/// nothing is released.
pub struct Doomed {
    pub client: Client,
    runtime: tokio::runtime::Runtime,
}

impl Doomed {
    pub fn new(fleet: &Fleet, holder: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = {
            let _inside = runtime.enter();
            fleet.client(holder)
        };
        Doomed { client, runtime }
    }

    /// Ends the process. Drop what it held after this.
    pub fn die(self) {
        self.runtime.shutdown_background();
    }
}
