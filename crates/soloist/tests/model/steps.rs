//! What a random step may be, in small numbers that mean something only within their case.

use proptest::prelude::*;

pub const SESSIONS: usize = 3;
pub const KEYS: usize = 3;
pub const TICKETS: usize = 8;
pub const HOLDERS: usize = 3;

/// A time, in milliseconds: the steps around which leases, hand-overs and results end.
const TIMES: &[u64] = &[10, 50, 1000, 2999, 3000, 3001, 10_000, 30_000];

/// What stays the same each time a ticket is used: it is the id of one request.
#[derive(Clone, Debug)]
pub struct Profile {
    pub session: usize,
    pub key: usize,
    pub holder: usize,
    pub flight: bool,
    pub note: bool,
    /// In milliseconds; `None` is for ever.
    pub ttl: Option<u64>,
    pub bound: bool,
    /// Never stands in line: a client does not do both with one ticket.
    pub tries: bool,
    /// The longest line that it joins.
    pub most: Option<u64>,
    /// How many fencing tokens it asks for.
    pub tokens: u8,
}

#[derive(Clone, Copy, Debug)]
pub enum How {
    Ask,
    Force,
}

#[derive(Clone, Debug)]
pub enum WhoIs {
    Ticket(usize),
    Holder(usize),
    Any,
}

#[derive(Clone, Debug)]
pub enum Step {
    /// By the ticket's own session.
    Acquire {
        ticket: usize,
        how: How,
        seen: bool,
    },
    Leave {
        by: usize,
        ticket: usize,
    },
    Renew {
        by: usize,
        /// Key, who, ttl, whether it is detached, and whether its token is raised.
        leases: Vec<(usize, WhoIs, Option<u64>, bool, bool)>,
    },
    Release {
        by: usize,
        key: usize,
        who: WhoIs,
    },
    /// By the ticket's own session: another one's lease, or whoever's it is, ends, and this one is asked for.
    Rotate {
        held: Option<usize>,
        ticket: usize,
    },
    /// By the ticket's own session, as the leader would.
    Publish {
        ticket: usize,
        error: bool,
        size: usize,
        keep: u64,
    },
    Forget {
        by: usize,
        key: usize,
    },
    Touch {
        by: usize,
        key: usize,
    },
    Inspect {
        by: usize,
        key: usize,
    },
    List {
        by: usize,
    },
    Pass {
        time: u64,
    },
    /// The session ends, and another one takes its place, with new tickets.
    Die {
        session: usize,
    },
}

/// One case: who asks for what, the steps, and after which of them the waiters that were told something hear
/// it at once (the others are frozen, and never do).
#[derive(Clone, Debug)]
pub struct Plan {
    pub profiles: Vec<Profile>,
    pub steps: Vec<(Step, bool)>,
}

fn time() -> impl Strategy<Value = u64> {
    proptest::sample::select(TIMES)
}

fn ttl() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![8 => time().prop_map(Some), 1 => Just(None)]
}

fn profile(bound: bool) -> impl Strategy<Value = Profile> {
    let who = (0..SESSIONS, prop_oneof![4 => Just(0), 1 => 1..KEYS], 0..HOLDERS);
    let most = prop_oneof![3 => Just(None), 1 => (0..3_u64).prop_map(Some)];
    let tokens = prop_oneof![3 => Just(1), 1 => Just(2), 1 => Just(128)];
    let how = (proptest::bool::weighted(0.2), most, tokens);
    (who, any::<bool>(), any::<bool>(), ttl(), any::<bool>(), how).prop_map(
        move |((session, key, holder), flight, note, ttl, binds, (tries, most, tokens))| Profile {
            tries,
            most,
            tokens,
            session,
            key,
            holder,
            flight,
            note,
            ttl,
            bound: bound && binds,
        },
    )
}

fn who() -> impl Strategy<Value = WhoIs> {
    prop_oneof![
        6 => (0..TICKETS).prop_map(WhoIs::Ticket),
        2 => (0..HOLDERS).prop_map(WhoIs::Holder),
        1 => Just(WhoIs::Any),
    ]
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![10 => Just(How::Ask), 1 => Just(How::Force)]
}

fn key() -> impl Strategy<Value = usize> {
    prop_oneof![4 => Just(0), 1 => 1..KEYS]
}

fn step() -> impl Strategy<Value = Step> {
    let by = || 0..SESSIONS;
    let lease = (key(), who(), ttl(), any::<bool>(), any::<bool>());
    let size = prop_oneof![8 => 0..20_usize, 1 => Just(5_000), 1 => Just(70_000)];
    let keep = prop_oneof![1 => Just(0), 2 => time()];
    prop_oneof![
        12 => (0..TICKETS, how(), any::<bool>()).prop_map(|(ticket, how, seen)| Step::Acquire { ticket, how, seen }),
        2 => (by(), 0..TICKETS).prop_map(|(by, ticket)| Step::Leave { by, ticket }),
        2 => (by(), proptest::collection::vec(lease, 1..4)).prop_map(|(by, leases)| Step::Renew { by, leases }),
        4 => (by(), key(), who()).prop_map(|(by, key, who)| Step::Release { by, key, who }),
        6 => (proptest::option::weighted(0.2, 0..TICKETS), 0..TICKETS)
            .prop_map(|(held, ticket)| Step::Rotate { held, ticket }),
        3 => (0..TICKETS, any::<bool>(), size, keep)
            .prop_map(|(ticket, error, size, keep)| Step::Publish { ticket, error, size, keep }),
        1 => (by(), key()).prop_map(|(by, key)| Step::Forget { by, key }),
        1 => (by(), key()).prop_map(|(by, key)| Step::Touch { by, key }),
        1 => (by(), key()).prop_map(|(by, key)| Step::Inspect { by, key }),
        1 => by().prop_map(|by| Step::List { by }),
        4 => time().prop_map(|time| Step::Pass { time }),
        1 => (0..SESSIONS).prop_map(|session| Step::Die { session }),
    ]
}

/// Cases of at most so many steps.
pub fn plan(most: usize, bound: bool) -> impl Strategy<Value = Plan> {
    let profiles = proptest::collection::vec(profile(bound), TICKETS);
    let steps = proptest::collection::vec((step(), any::<bool>()), 1..most);
    (profiles, steps).prop_map(|(profiles, steps)| Plan { profiles, steps })
}
