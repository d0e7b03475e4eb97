//! The same, for the scheduler of the package `interleavings`: it runs one thread at a time and may go on with
//! another at each of these. Tokio's own are used as they are, and each call of them is one step.

use std::pin::Pin;
use std::task::{Context, Poll};

pub(crate) use shuttle::sync::{Mutex, MutexGuard, atomic};
use tokio::sync::futures::Notified;

/// Another thread may go on here.
pub(crate) fn pass() {
    atomic::AtomicBool::new(false).load(atomic::Ordering::SeqCst);
}

/// A future of which each poll is a step.
#[derive(Debug)]
pub(crate) struct Stepped<F>(Pin<Box<F>>);

impl<F: Future> Stepped<F> {
    pub(crate) fn new(future: F) -> Self {
        Stepped(Box::pin(future))
    }
}

impl<F: Future> Future for Stepped<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        pass();
        self.0.as_mut().poll(cx)
    }
}

impl Stepped<Notified<'_>> {
    pub(crate) fn enable(mut self: Pin<&mut Self>) -> bool {
        pass();
        self.0.as_mut().enable()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Notify(tokio::sync::Notify);

impl Notify {
    pub(crate) fn new() -> Self {
        Notify::default()
    }

    pub(crate) fn notify_one(&self) {
        pass();
        self.0.notify_one();
    }

    pub(crate) fn notify_waiters(&self) {
        pass();
        self.0.notify_waiters();
    }

    pub(crate) fn notified(&self) -> Stepped<Notified<'_>> {
        pass();
        Stepped::new(self.0.notified())
    }
}
