//! How long to wait before the next try.

use std::time::Duration;

use crate::random;

const FIRST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_secs(1);

/// Pauses that double from 5 ms to 1 s, each at a random point of its second half, so that a fleet does not
/// come back as one.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn new() -> Self {
        Backoff(FIRST)
    }

    pub(super) async fn pause(&mut self) {
        // Without randomness all pauses are whole, which is no harm.
        let random = random::u32().unwrap_or(u32::MAX);
        let half = self.0 / 2;
        let pause = half + half.mul_f64(f64::from(random) / f64::from(u32::MAX));
        self.0 = (self.0 * 2).min(LONGEST);
        tokio::time::sleep(pause).await;
    }
}
