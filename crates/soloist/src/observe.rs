//! What is logged, each line of it: `docs/observing.md` is the same as a table, and a test compares them.
//!
//! Invariant: no ticket, lease id, password or result goes in here. Invariant: whatever costs something is
//! computed inside the macro, after it has looked whether anybody listens.

use std::fmt::Display;
use std::time::Duration;

use tracing::Span;
use tracing::level_filters::LevelFilter;

use crate::clock::Moment;
use crate::error::{Error, Loss};
use crate::finding::Finding;
use crate::name::{FencingToken, Holder, Key};
use crate::protocol::{Grant, Micros, Mode, Outcome, Queued, Request, Want};

/// A lease, as it is logged.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) key: &'a Key,
    pub(crate) holder: &'a Holder,
    pub(crate) token: FencingToken,
    pub(crate) since: Moment,
}

/// One event, its name also its message.
macro_rules! told {
    ($level:ident, $target:literal, $name:literal, $($field:tt)*) => {
        tracing::$level!(name: $name, target: $target, $($field)*, $name)
    };
}

/// So long, in seconds.
fn secs(time: Duration) -> f64 {
    time.as_secs_f64()
}

/// So long ago, in seconds.
fn ago(began: Moment) -> f64 {
    secs(Moment::now().since(began))
}

fn mode(request: &Request) -> &'static str {
    match request.mode {
        Mode::Try => "try",
        Mode::Line => "line",
        Mode::Force => "force",
    }
}

fn want(want: Want) -> &'static str {
    match want {
        Want::Lock => "lock",
        Want::Flight => "flight",
    }
}

/// The moment at which a wait begins, where somebody may hear how long it was.
pub(crate) fn began() -> Option<Moment> {
    (LevelFilter::current() >= LevelFilter::DEBUG).then(Moment::now)
}

/// Around the wait for a lock.
pub(crate) fn lock_span(key: &Key, holder: &Holder) -> Span {
    tracing::debug_span!(target: "soloist::line", "lock", %key, %holder)
}

/// Around the wait for a flight.
pub(crate) fn once_span(key: &Key, holder: &Holder) -> Span {
    tracing::debug_span!(target: "soloist::line", "once", %key, %holder)
}

pub(crate) fn waiting_in_line(request: &Request, queued: &Queued) {
    let Request { key, holder, .. } = request;
    let (place, ahead) = (queued.place, &queued.holding.holder);
    told!(debug, "soloist::line", "waiting in line", %key, %holder, place, held_by = %ahead);
}

pub(crate) fn wait_over(key: &Key, holder: &Holder, began: Option<Moment>) {
    told!(debug, "soloist::line", "wait over", %key, %holder, waited = began.map(ago));
}

pub(crate) fn still_in_line(request: &Request, store: &str, why: &str) {
    let Request { key, holder, .. } = request;
    told!(warn, "soloist::line", "still in line", %key, %holder, store, why);
}

pub(crate) fn not_granted_yet(request: &Request, store: &str, left: Duration) {
    let Request { key, holder, .. } = request;
    told!(warn, "soloist::line", "not granted yet", %key, %holder, store, left = secs(left));
}

pub(crate) fn not_taken_back(key: &Key, error: &Error) {
    told!(warn, "soloist::line", "request not taken back", %key, %error);
}

pub(crate) fn granted(request: &Request, grant: &Grant, began: Option<Moment>) {
    let Request { key, holder, .. } = request;
    told!(
        debug, "soloist::lease", "lease granted",
        %key, %holder, token = grant.token.0, waited = began.map(ago), mode = mode(request), want = want(request.want)
    );
}

pub(crate) fn granted_too_late(request: &Request, grant: &Grant) {
    let Request { key, holder, .. } = request;
    told!(warn, "soloist::lease", "lease granted too late", %key, %holder, token = grant.token.0);
}

pub(crate) fn renewed(lease: Subject<'_>) {
    let Subject { key, holder, token, since } = lease;
    told!(trace, "soloist::lease", "lease renewed", %key, %holder, token = token.0, held = ago(since));
}

pub(crate) fn not_renewed(lease: Subject<'_>, error: &Error) {
    let Subject { key, holder, token, .. } = lease;
    told!(warn, "soloist::lease", "lease not renewed", %key, %holder, token = token.0, %error);
}

pub(crate) fn renewed_late(lease: Subject<'_>, late: Duration) {
    let Subject { key, holder, token, .. } = lease;
    told!(warn, "soloist::lease", "lease renewed late", %key, %holder, token = token.0, late = secs(late));
}

pub(crate) fn released(lease: Subject<'_>) {
    let Subject { key, holder, token, since } = lease;
    told!(debug, "soloist::lease", "lease released", %key, %holder, token = token.0, held = ago(since));
}

pub(crate) fn not_released(lease: Subject<'_>, error: &Error) {
    let Subject { key, holder, token, .. } = lease;
    told!(warn, "soloist::lease", "lease not released", %key, %holder, token = token.0, %error);
}

pub(crate) fn detached(lease: Subject<'_>) {
    let Subject { key, holder, token, since } = lease;
    told!(debug, "soloist::lease", "lease detached", %key, %holder, token = token.0, held = ago(since));
}

/// The end of a lease that its owner did not ask for.
pub(crate) fn lost(lease: Subject<'_>, loss: &Loss) {
    let Subject { key, holder, token, since } = lease;
    match loss {
        Loss::TakenOver { by } => told!(
            warn, "soloist::lease", "lease taken over",
            %key, %holder, token = token.0, held = ago(since), %by
        ),
        loss => told!(
            warn, "soloist::lease", "lease lost",
            %key, %holder, token = token.0, held = ago(since), %loss
        ),
    }
}

pub(crate) fn led(lease: Subject<'_>, began: Moment) {
    let Subject { key, holder, token, .. } = lease;
    told!(debug, "soloist::flight", "flight led", %key, %holder, token = token.0, waited = ago(began));
}

pub(crate) fn followed(key: &Key, holder: &Holder, outcome: &Outcome, began: Moment) {
    let leader = &outcome.leader;
    told!(
        debug, "soloist::flight", "flight followed",
        %key, %holder, token = outcome.token.0, %leader, waited = ago(began)
    );
}

pub(crate) fn published(lease: Subject<'_>, size: u64, keep: Micros) {
    let Subject { key, holder, token, since } = lease;
    let keep = Duration::from_micros(keep);
    told!(
        debug, "soloist::flight", "flight published",
        %key, %holder, token = token.0, held = ago(since), size, keep = secs(keep)
    );
}

/// The leader's work failed. Its error's text is the caller's own and is not logged.
pub(crate) fn failed(lease: Subject<'_>, shared: bool) {
    let Subject { key, holder, token, since } = lease;
    told!(debug, "soloist::flight", "flight failed", %key, %holder, token = token.0, held = ago(since), shared);
}

pub(crate) fn not_published(lease: Subject<'_>, store: &str, why: &str) {
    let Subject { key, holder, token, .. } = lease;
    told!(warn, "soloist::flight", "flight not published", %key, %holder, token = token.0, store, why);
}

pub(crate) fn connection_lost(store: &str, what: &'static str, error: &dyn Display) {
    told!(warn, "soloist::store", "connection lost", store, connection = what, %error);
}

pub(crate) fn connected_again(store: &str, what: &'static str) {
    told!(info, "soloist::store", "connected again", store, connection = what);
}

pub(crate) fn not_connected(store: &str, what: &'static str, error: &Error) {
    told!(debug, "soloist::store", "not connected yet", store, connection = what, %error);
}

pub(crate) fn may_lose_locks(store: &str, finding: &Finding) {
    let Finding { code, what, fix, .. } = finding;
    let fix = fix.as_deref().unwrap_or_default();
    told!(warn, "soloist::store", "store may lose locks", store, code, what, fix);
}

pub(crate) fn not_examined(store: &str, error: &dyn Display) {
    told!(debug, "soloist::store", "store not examined", store, %error);
}

/// The server's clock was set, by so many seconds.
pub(crate) fn clock_stepped(store: &str, by: f64) {
    told!(warn, "soloist::store", "clock stepped", store, by);
}

pub(crate) fn expiries_late(error: &Error) {
    told!(warn, "soloist::store", "expiries told late", %error);
}
