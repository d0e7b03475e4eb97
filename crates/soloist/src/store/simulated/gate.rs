//! What stops a process of a simulation, and lets it go on.

use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// While it is shut, nothing behind it moves: as a process that was sent SIGSTOP.
///
/// ```
/// use std::sync::Arc;
/// use soloist::testing::Gate;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let gate = Arc::new(Gate::default());
/// gate.shut();
/// let work = tokio::spawn({
///     let gate = Arc::clone(&gate);
///     async move { gate.run(async { 7 }).await }
/// });
/// tokio::task::yield_now().await;
/// assert!(!work.is_finished());
/// gate.open();
/// assert_eq!(work.await.unwrap(), 7);
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Gate(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    shut: bool,
    waiting: Vec<Waker>,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shuts it.
    pub fn shut(&self) {
        self.state().shut = true;
    }

    /// Opens it.
    pub fn open(&self) {
        let waiting = {
            let mut state = self.state();
            state.shut = false;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Resolves when it is open.
    ///
    /// # Cancel safety
    /// Safe: it changes nothing.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// soloist::testing::Gate::default().passed().await;
    /// # }
    /// ```
    pub async fn passed(&self) {
        std::future::poll_fn(|cx| {
            let mut state = self.state();
            if !state.shut {
                return Poll::Ready(());
            }
            state.waiting.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Does the work, of which nothing is done while the gate is shut. See [`Gate`] for an example:
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// assert_eq!(soloist::testing::Gate::default().run(async { 7 }).await, 7);
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// As safe as the work is.
    pub async fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        std::future::poll_fn(|cx| {
            {
                let mut state = self.state();
                if state.shut {
                    state.waiting.push(cx.waker().clone());
                    return Poll::Pending;
                }
            }
            work.as_mut().poll(cx)
        })
        .await
    }
}
