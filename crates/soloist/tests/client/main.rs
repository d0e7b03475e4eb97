//! What the client promises, on every store: each check is a plain async function over a fleet of clients.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod cache;
mod cancel;
#[path = "../support/cluster.rs"]
mod clusters;
mod cohort;
mod events;
mod fleet;
mod in_cluster;
mod lock;
mod once;
#[path = "../support/redis_server.rs"]
mod redis_server;

use fleet::Fleet;

/// Runs every check on every store, one test each.
macro_rules! on_every_store {
    ($($module:ident: $($check:ident),+ $(,)?;)+) => {
        on_every_store!(@store memory, $($module: $($check),+;)+);
        on_every_store!(@store local, $($module: $($check),+;)+);
        on_every_store!(@store redis, $($module: $($check),+;)+);
        on_every_store!(@store cluster, $($module: $($check),+;)+);

        #[test]
        fn no_check_is_forgotten() {
            $(
                let source = include_str!(concat!(stringify!($module), ".rs"));
                let written = source.matches("pub async fn ").count();
                let listed = [$(stringify!($check)),+].len();
                assert_eq!(written, listed, "checks in {}.rs", stringify!($module));
            )+
        }
    };
    (@store $store:ident, $($module:ident: $($check:ident),+;)+) => {
        mod $store {
            $(mod $module {
                $(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $check() {
                        let fleet = $crate::Fleet::$store().await;
                        $crate::$module::$check(&fleet).await;
                    }
                )+
            })+
        }
    };
}

// A quorum refuses work-once: without `once`, and without what else needs a flight.
on_every_store!(@store quorum, lock: one_at_a_time_and_in_order, a_busy_key_is_a_value, wait_ends_and_names_the_holder,
    force_takes_over_and_tells, a_lease_renews_itself, a_lost_lease_is_told_at_its_deadline,
    run_until_lost_drops_the_work, a_detached_lease_lives_on, no_expiry_is_held_until_released,
    release_after_loss_says_so, break_lock_tells_the_holder,
    release_by_id_tells_the_owner_on_the_same_client, a_drop_releases,
    a_handed_over_lease_is_confirmed, bad_input_is_told_before_anything_is_sent,
    a_prefix_separates, list_and_inspect, a_wait_of_zero_tries, renew_changes_the_ttl,
    a_rotation_of_a_lost_lease_says_so, a_rotation_ends_the_lease_whatever_comes_of_it,
    closing_frees_what_is_held_and_waited_for;
    events: an_expiry_is_told_untouched, an_expiry_of_an_older_lease_is_told, the_events_of_a_closed_client_end;
    cancel: a_dropped_lock_leaves_nothing, a_dropped_wait_leaves_nothing, a_dropped_release_releases,
    a_dropped_detach_releases_or_lives;
);

on_every_store! {
    lock: one_at_a_time_and_in_order, a_busy_key_is_a_value, wait_ends_and_names_the_holder,
        force_takes_over_and_tells, a_lease_renews_itself, a_lost_lease_is_told_at_its_deadline,
        run_until_lost_drops_the_work, a_detached_lease_lives_on, no_expiry_is_held_until_released,
        release_after_loss_says_so, break_lock_tells_the_holder,
        release_by_id_tells_the_owner_on_the_same_client, a_drop_releases,
        a_handed_over_lease_is_confirmed, bad_input_is_told_before_anything_is_sent,
        a_prefix_separates, list_and_inspect, a_wait_of_zero_tries, renew_changes_the_ttl, who_rotates_takes_turns,
        a_rotation_of_a_lost_lease_says_so, a_rotation_ends_the_lease_whatever_comes_of_it,
        closing_frees_what_is_held_and_waited_for, a_full_line_is_refused_at_once;
    cache: a_forgotten_result_is_not_served, a_result_that_was_replaced_is_not_served, the_end_of_its_keep_is_the_end,
        errors_are_kept_like_values, a_result_that_goes_stale_is_not_kept_here,
        whoever_asks_the_store_sees_the_newest, when_all_is_quiet_all_read_the_last, a_closed_client_serves_nothing;
    cohort: one_at_a_time_and_tokens_grow, a_row_costs_the_store_one_grant, processes_take_turns,
        who_goes_away_is_passed_over, an_asker_that_goes_away_leaves_its_place,
        nobody_is_left_in_line_when_all_go_away, a_wait_ends_and_names_the_holder, a_lost_lease_ends_the_row,
        an_id_is_its_holders_alone, a_detached_lease_leaves_its_cohort, closing_ends_a_cohort;
    once: all_hear_one_leader, a_value_is_kept_and_forgotten, without_keep_the_next_computes,
        errors_are_shared_with_all_who_wait, errors_are_retried_by_the_next, errors_are_kept_apart,
        a_dropped_leader_is_replaced, a_panicking_leader_is_replaced, falsy_and_marker_values_survive,
        too_large_is_told_to_all, a_follower_gives_up_alone, forget_while_computing,
        a_replaced_leader_is_refused, many_callers_one_request, raw_bytes, a_driver_that_leaves_passes_on,
        undecodable_is_told, a_leader_that_lost_its_lease_holds_nobody_up;
    events: each_kind_in_order, an_expiry_is_told_untouched, an_expiry_of_an_older_lease_is_told,
        the_events_of_a_closed_client_end;
    cancel: a_dropped_lock_leaves_nothing, a_dropped_wait_leaves_nothing, a_dropped_release_releases,
        a_dropped_detach_releases_or_lives, a_dropped_leader_leaves_nothing, a_dropped_follower_leaves_nothing;
}
