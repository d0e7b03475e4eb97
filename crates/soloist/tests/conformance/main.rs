//! The conformance suite: what every store must do, written once over the [`soloist::Store`] trait and run
//! against each. A check that is not in the table below, or a store that has no line in it, fails the suite.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub, missing_docs)]

mod checks;
#[path = "../support/cluster.rs"]
mod clusters;
mod exempt;
mod fixture;
#[path = "../support/hostile.rs"]
mod hostile;
mod meta;
#[path = "../support/request.rs"]
mod request;
#[path = "../support/sources.rs"]
mod sources;
mod stores;
#[path = "../support/mod.rs"]
mod support;

use support::redis_server;

use fixture::LIMIT;

/// All checks of one group against one store, each a test of its own.
macro_rules! group {
    ($fixture:path, $($module:ident: [$($check:ident),* $(,)?])*) => {
        $(mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                let fixture = $fixture().await;
                let name = concat!(stringify!($module), "::", stringify!($check));
                if let Some(why) = crate::fixture::Fixture::exempt(&fixture, name) {
                    println!("{name} does not hold here: {why}");
                    return;
                }
                let check = crate::checks::$module::$check(&fixture);
                tokio::time::timeout(crate::LIMIT * 3, check).await.expect("the check ends");
            })*
        })*
    };
}

/// The checks. `everywhere` holds on every store; `bound` where the store can tell that a process ended.
macro_rules! table {
    ($then:ident!($($args:tt)*)) => {
        $then! {
            { $($args)* }
            everywhere {
                lock: [
                    one_holds_the_others_do_not, tokens_grow_over_releases, asking_again_is_the_same_request,
                    a_repeated_release_is_not_held, a_lease_can_be_released_by_its_holder_name,
                    a_lock_can_be_broken, renewals_name_a_ticket_or_a_holder,
                    a_thousand_leases_are_renewed_in_one_call, a_lease_without_expiry_stays,
                    contenders_never_work_at_once,
                ]
                line: [
                    the_line_is_served_in_order, a_try_does_not_barge_past_the_line,
                    a_release_serves_exactly_one, the_grant_comes_by_message,
                    who_leaves_the_line_is_not_served, leaving_passes_on_a_grant_that_crossed,
                    leaving_what_was_never_asked_is_no_error, a_dropped_wait_keeps_its_place,
                    a_grant_that_came_while_nobody_waited_is_found,
                    a_handed_over_lease_is_short_until_it_is_confirmed, asking_again_confirms_a_hand_over,
                    a_short_ttl_is_not_lengthened_by_the_hand_over, a_renewal_wakes_nobody,
                    requests_given_up_at_any_time_leave_nothing,
                    a_full_line_is_not_joined_and_says_so_at_once,
                    who_moved_up_rejoined_or_leaves_is_found_in_the_line,
                ]
                rotate: [
                    who_rotates_stands_behind_all_who_wait, all_take_turns, alone_it_is_granted_again,
                    what_is_not_held_is_not_rotated, a_full_line_is_not_joined,
                    a_request_given_up_after_it_is_gone,
                ]
                expiry: [
                    a_lease_ends_at_its_ttl, an_expired_lease_is_not_held, a_renewed_lease_lives_on,
                    the_waiter_recovers_an_expired_lease_by_itself,
                    any_touch_hands_an_expired_lease_to_the_next,
                    a_frozen_waiter_costs_the_line_its_hand_over_time_only,
                    a_lease_can_be_given_no_end_and_an_end_again,
                ]
                takeover: [
                    force_takes_over_and_tells_the_old_holder, force_asked_again_is_the_same_take_over,
                    force_on_a_free_key_is_a_grant, the_line_waits_on_behind_a_take_over,
                    a_waiter_can_lose_its_patience_and_force, a_take_over_in_the_same_process_is_told_too,
                ]
                flight: [
                    one_leads_and_all_others_hear, the_result_comes_by_message,
                    a_result_that_came_while_nobody_waited_is_found,
                    a_kept_result_serves_those_who_come_later, a_result_is_kept_no_longer_than_its_keep,
                    without_keep_only_those_who_stood_in_line_are_served, without_keep_newcomers_compute_anew,
                    an_error_is_a_result_too, a_leader_that_gives_up_is_replaced_by_the_next,
                    a_replaced_leader_cannot_publish, a_leader_taken_over_cannot_publish,
                    force_computes_anew_in_spite_of_a_kept_result, publishing_again_is_the_same_publish,
                    a_flight_forgotten_under_way_is_stale, a_forgotten_result_is_computed_anew,
                    a_lock_waits_behind_a_flight, a_flight_waits_behind_a_lock,
                    a_follower_that_leaves_disturbs_nobody, results_follow_each_other,
                ]
                values: [
                    no_byte, one_byte, every_byte_value, around_the_limits_of_stores, a_hundred_kilobytes,
                    five_megabytes, what_looks_like_a_protocol,
                ]
                text: [
                    hostile_keys_never_meet, hostile_keys_carry_results,
                    hostile_holders_and_notes_are_shown_as_given, the_longest_names_fit,
                ]
                look: [
                    inspect_tells_holder_waiters_and_result, inspect_names_flight_waiters,
                    list_tells_the_keys_with_a_prefix_in_order, looking_changes_nothing,
                    an_examination_says_something_and_changes_nothing,
                    the_store_has_a_name_without_secrets,
                ]
                events: [
                    locking_tells_in_order, flights_tell_in_order, an_expiry_is_told_when_it_is_found,
                    every_watcher_hears_every_key, a_dropped_subscription_disturbs_nobody,
                ]
                session: [
                    a_dead_waiter_is_skipped_in_the_same_step, a_key_is_free_when_only_dead_ones_wait,
                    an_unbound_lease_outlives_its_session, closing_wakes_the_waiters, a_closed_store_says_so,
                ]
            }
            bound {
                bound: [
                    a_bound_lease_ends_with_its_session, a_bound_leader_that_died_is_replaced,
                    a_detached_lease_outlives_its_session, whom_to_watch_is_told,
                ]
            }
        }
    };
}

macro_rules! run {
    (
        { $($(#[$about:meta])* $suite:ident: $store:ident by $fixture:path, $bound:ident;)* }
        everywhere $everywhere:tt bound $bound_checks:tt
    ) => {
        $(
            $(#[$about])*
            mod $suite {
                group_of! { $fixture, $everywhere }
                bound_of! { $bound, $fixture, $bound_checks }
            }
        )*
        /// The stores that stand in the table.
        const STORES: &[&str] = &[$(stringify!($store)),*];
        names_of! { $everywhere $bound_checks }
    };
}

macro_rules! group_of {
    ($fixture:path, { $($groups:tt)* }) => { group! { $fixture, $($groups)* } };
}

macro_rules! bound_of {
    (bound, $fixture:path, $groups:tt) => {
        group_of! { $fixture, $groups }
    };
    (unbound, $fixture:path, $groups:tt) => {};
}

macro_rules! names_of {
    ($({ $($module:ident: [$($check:ident),* $(,)?])* })*) => {
        /// The checks that stand in the table.
        const CHECKS: &[&str] = &[$($($(concat!(stringify!($module), "::", stringify!($check))),*),*),*];
    };
}

table! { run!(
    /// The reference, on a driven clock.
    memory: MemoryStore by crate::stores::memory, bound;
    /// The same on real time.
    memory_real: MemoryStore by crate::stores::memory_real, bound;
    /// Several processes on one machine.
    local: LocalStore by crate::stores::local, bound;
    /// The same on real time.
    local_real: LocalStore by crate::stores::local_real, bound;
    /// A real server, each check its own.
    redis: RedisStore by crate::stores::redis, unbound;
    /// The same on real time.
    redis_real: RedisStore by crate::stores::redis_real, unbound;
    /// A cluster that all of these share, each with names of its own.
    cluster: RedisStore by crate::stores::cluster, unbound;
    /// A wrapper must not change what it wraps.
    prefix: PrefixStore by crate::stores::prefix, bound;
    /// Where every third call is carried out twice.
    twice: FaultyStore by crate::stores::twice, bound;
    /// With all that is asked written down.
    recording: RecordingStore by crate::stores::recording, bound;
    /// A majority of three in this process, on one driven clock. Of real servers one may be a step behind the others, which
    /// these checks do not wait for: tests/quorum has those.
    quorum: QuorumStore by crate::stores::quorum, unbound;
    /// A node of a quorum that was opened late.
    late: LateStore by crate::stores::late, bound;
    /// Beside an older system whose processes are all gone.
    bridge: BridgeStore by crate::stores::bridge, unbound;
) }
