//! The source of a simulation: this thread's own, so that simulations on other threads do not disturb it.

use std::cell::RefCell;

use crate::random::Dice;

thread_local! {
    static SOURCE: RefCell<Option<Dice>> = const { RefCell::new(None) };
}

/// Sets or ends the source of this thread.
pub(crate) fn set(dice: Option<Dice>) {
    SOURCE.with(|source| *source.borrow_mut() = dice);
}

pub(super) fn fill(bytes: &mut [u8]) -> bool {
    SOURCE.with(|source| match &mut *source.borrow_mut() {
        Some(dice) => {
            bytes.chunks_mut(8).for_each(|some| {
                let random = dice.next_u64().to_le_bytes();
                some.copy_from_slice(&random[..some.len()]);
            });
            true
        }
        None => false,
    })
}
