//! Every world, in so many orders: `SOLOIST_ITERATIONS` says how many, `SOLOIST_SEED` from which seed on.

use soloist_interleavings::interleavings::explore;

const ITERATIONS: u64 = 1000;
const SEED: u64 = 1;

fn set(name: &str, otherwise: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

macro_rules! worlds {
    ($($module:ident: $($world:ident),+;)+) => {$(
        mod $module {
            $(#[test]
            fn $world() {
                let world = soloist_interleavings::interleavings::$module::$world;
                super::explore(world, super::set("SOLOIST_ITERATIONS", super::ITERATIONS), super::set("SOLOIST_SEED", super::SEED));
            })+
        }
    )+};
}

worlds! {
    book:
        no_wake_up_is_lost,
        closing_leaves_nothing_behind,
        a_loss_finds_its_lease,
        a_flush_ends_though_the_keeper_dies,
        the_keeper_ends_after_its_work;
    hub:
        a_grant_is_taken_once,
        a_hint_that_is_needed_is_not_lost,
        whoever_listens_before_it_asks_hears,
        closing_wakes_who_waits;
    flights:
        a_result_or_the_baton_reaches_everybody,
        who_waits_for_the_result_hears_it,
        a_lost_leader_holds_nobody_up;
    kept:
        a_deadline_is_never_later_than_the_stores,
        nor_is_it_when_two_change_the_ttl,
        what_was_given_up_is_counted_by,
        a_loss_is_told_once_and_to_all,
        a_loss_outlives_a_confirmation;
}
