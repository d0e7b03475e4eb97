//! What cannot hold on a quorum as it does on one store, and why.

/// Why a check cannot hold there, if it cannot.
pub fn on_a_quorum(check: &str) -> Option<&'static str> {
    let named = |names: &&str| {
        *names == check || names.strip_suffix('*').is_some_and(|group| check.starts_with(group))
    };
    EXEMPT.iter().find(|(names, _)| names.iter().any(named)).map(|(_, why)| *why)
}

/// The checks (or all of a group), and what a quorum does in place of that.
pub const EXEMPT: &[(&[&str], &str)] = &[
    (
        &["flight::*", "values::*", "events::flights_tell_in_order", "text::hostile_keys_carry_results"],
        "work-once is refused on a quorum, at the first call",
    ),
    (
        &[
            "line::a_full_line_is_not_joined_and_says_so_at_once",
            "look::inspect_names_flight_waiters",
            "look::inspect_tells_holder_waiters_and_result",
            "look::list_tells_the_keys_with_a_prefix_in_order",
        ],
        "it needs a flight; tests/quorum has the same without one",
    ),
    (
        &[
            "events::an_expiry_is_told_when_it_is_found",
            "events::locking_tells_in_order",
            "line::asking_again_confirms_a_hand_over",
        ],
        "what the nodes hand over is a lease, with its token, and told, only when its waiter has heard of it; \
         tests/quorum has the events of one that waits",
    ),
    (
        &["text::hostile_holders_and_notes_are_shown_as_given"],
        "whoever asks right after a lease was ended by its holder's name may stand in line for a moment, at the \
         node that hears of it last; tests/quorum has the same with somebody who waits",
    ),
    (
        &["line::a_short_ttl_is_not_lengthened_by_the_hand_over"],
        "leases live a hundredth longer at the nodes than their holders believe, for the drift of clocks",
    ),
];
