//! What five older systems do, each row of each, on every store: whoever used one finds it here, by its name.
//! `docs/moving.md` is the same in words.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod crash;
#[path = "../client/fleet.rs"]
mod fleet;
mod halocksmith;
mod locksmith;
mod locky;
mod page;
mod process_locker;
mod redis_reservation;
#[path = "../support/redis_server.rs"]
mod redis_server;

use fleet::Fleet;

/// Runs every check on every store, one test each; `stores` are the constructors of [`Fleet`].
macro_rules! seeds {
    (stores: $($store:ident),+; $($checks:tt)+) => {
        seeds!(@each [$($store)+] $($checks)+);

        #[test]
        fn no_store_is_forgotten() {
            let source = include_str!("../client/fleet.rs");
            // A quorum refuses work-once, and its lines and takeovers are not one step: tests/quorum has its own.
            let stores = source.matches("() -> Self {").count() - source.matches("fn quorum()").count();
            assert_eq!(stores, [$(stringify!($store)),+].len(), "the stores of tests/client/fleet.rs");
        }
    };
    (@each [$store:ident $($more:ident)*] $($checks:tt)+) => {
        seeds!(@store $store $($checks)+);
        seeds!(@each [$($more)*] $($checks)+);
    };
    (@each [] $($system:ident: $($check:ident),+ $(,)?;)+) => {
        #[test]
        fn no_check_is_forgotten() {
            $(
                let source = include_str!(concat!(stringify!($system), ".rs"));
                let written = source.matches("pub async fn ").count();
                assert_eq!(written, [$(stringify!($check)),+].len(), "checks in {}.rs", stringify!($system));
            )+
        }
    };
    (@store $store:ident $($system:ident: $($check:ident),+ $(,)?;)+) => {
        mod $store {
            $(mod $system {
                $(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $check() {
                        let fleet = $crate::Fleet::$store().await;
                        $crate::$system::$check(&fleet).await;
                    }
                )+
            })+
        }
    };
}

seeds! {
    stores: memory, local, redis;
    locksmith: one_lock_for_the_whole_application, an_empty_key_locks_nothing, waits_until_it_is_there,
        release_lets_the_next_in, the_timeout_is_the_life_of_the_lease, the_prefix_is_put_before_every_key,
        a_cache_is_filled_once, repaired_served_in_order_not_by_poll, repaired_the_stores_clock_decides,
        repaired_never_releases_what_another_holds;
    halocksmith: retries_and_pauses_are_one_wait, retries_of_zero_try_once, the_error_names_the_holder,
        timeout_and_prefix, repaired_never_releases_what_another_holds, repaired_a_late_holder_is_told;
    locky: lock_answers_whether, numbers_are_names, force_takes_it_over, refresh_begins_the_ttl_anew,
        refresh_of_nothing_does_nothing_and_says_so, unlock_frees_it, unlock_of_nothing_does_nothing_and_says_so,
        the_locker_can_be_asked_for, a_ttl_in_milliseconds, no_ttl_is_no_expiration, the_prefix_separates,
        events_of_lock_unlock_and_expire, close_waits_for_what_is_under_way, close_ends_what_is_held,
        repaired_a_refused_contender_extends_nothing, repaired_a_stranger_cannot_unlock,
        repaired_a_stranger_cannot_refresh, repaired_an_expiry_is_told_untouched;
    redis_reservation: by_names_the_worker, lock_answers_at_once, wait_until_lock_answers_the_key,
        the_heartbeat_keeps_it, without_a_heartbeat_the_ttl_ends_it, release_says_that_it_was_lost,
        losing_it_reaches_the_worker, repaired_many_reservations_at_once,
        repaired_a_heartbeat_never_extends_anothers, repaired_the_next_is_woken_in_order;
    process_locker: request_answers_locked_then_done, the_others_wait_until_publish, a_timeout_for_each_publish,
        the_result_timeout_is_a_default, a_request_that_only_looks, prefixes_separate,
        granted_wish_a_timeout_for_those_who_wait, repaired_a_leader_that_dies_is_replaced,
        repaired_a_long_leader_is_not_replaced, repaired_a_falsy_result_survives, repaired_wait_is_a_value,
        repaired_a_failure_is_told, repaired_a_replaced_leader_publishes_nothing;
}
