//! The fleet of a cluster.

use soloist::store::redis::RedisStore;

use crate::clusters::Own;
use crate::fleet::Fleet;

impl Fleet {
    pub async fn cluster() -> Self {
        let cluster = Own::get().await;
        let url = cluster.url();
        Fleet::new(cluster, move || {
            let url = url.clone();
            async move { RedisStore::connect(&url).await.unwrap() }
        })
    }
}
