//! What is logged is what docs/observing.md says, with no secret in it, and costs nothing where nobody listens.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod page;
mod recorder;
#[path = "../support/redis_server.rs"]
mod redis_server;
mod trouble;
mod usual;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use recorder::Recorder;

/// Not provoked here: it takes five minutes of an outage.
const NOT_PROVOKED: &[&str] = &["request not taken back"];
/// What must never be logged: the password of the store, the result, the text of a leader's error.
const SECRETS: &[&str] = &["geheim", "the value", "the reason"];

/// Fails instead of hanging.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("this should have happened long ago")
}

/// Checks everything that was logged against the page, and that it holds no secret.
fn check(recorder: &Recorder, secrets: &[String]) {
    let ours = ["soloist::lease", "soloist::line", "soloist::flight", "soloist::store"];
    for seen in recorder.seen() {
        for (field, value) in &seen.fields {
            let secret = SECRETS.iter().copied().chain(secrets.iter().map(String::as_str));
            for secret in secret {
                assert!(!value.contains(secret), "{secret:?} stands in {field} of {seen:?}");
            }
        }
        if !ours.contains(&seen.target.as_str()) {
            assert!(seen.target.starts_with("soloist::store::"), "an undocumented target: {seen:?}");
            continue;
        }
        let row = page::row(&seen.name);
        assert_eq!(
            (seen.target.as_str(), seen.level.to_string()),
            (row.target.as_str(), row.level),
            "{}",
            seen.name
        );
        let mut fields: BTreeSet<String> = seen.fields.keys().cloned().collect();
        if !seen.span {
            assert!(fields.remove("message"), "{seen:?}");
            assert_eq!(seen.fields["message"], seen.name);
        }
        assert_eq!(fields, row.fields, "{}", seen.name);
        for number in ["waited", "held", "keep", "late", "left"] {
            let value = seen.fields.get(number).map(|value| value.parse::<f64>().unwrap());
            assert!(value.is_none_or(|value| value >= 0.0), "{seen:?}");
        }
    }
}

#[test]
fn every_row_of_the_page_is_told() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // On this thread alone, so that this recorder hears all of it.
    let (recorder, _listening) = Recorder::listen();
    let mut tickets = runtime.block_on(usual::everything());
    tickets.extend(runtime.block_on(trouble::everything(&recorder)));
    drop(runtime);
    check(&recorder, &tickets);
    let told: BTreeSet<String> = recorder.seen().into_iter().map(|seen| seen.name).collect();
    for row in page::rows() {
        let provoked = !NOT_PROVOKED.contains(&row.name.as_str());
        assert_eq!(told.contains(&row.name), provoked, "{}; told: {told:?}", row.name);
    }
}

#[test]
fn fields_say_what_happened() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (recorder, _listening) = Recorder::listen();
    runtime.block_on(usual::everything());
    let first = |name: &str| recorder.all(name).remove(0).fields;
    for (name, span) in [("waiting in line", "lock"), ("lease granted", "lock"), ("flight followed", "once")]
    {
        assert_eq!(recorder.all(name)[0].inside.as_deref(), Some(span), "{name}");
    }
    assert_eq!(recorder.all("flight published")[0].inside, None, "the leader's work is not its wait");
    let waiting = first("waiting in line");
    assert_eq!((waiting["key"].as_str(), waiting["holder"].as_str()), ("k", "b"));
    assert_eq!((waiting["place"].as_str(), waiting["held_by"].as_str()), ("1", "a"));
    assert_eq!(first("lease taken over")["by"], "operator");
    let led = first("flight led");
    assert_eq!(first("flight followed")["leader"], led["holder"]);
    assert_eq!(first("flight followed")["token"], led["token"]);
    assert_eq!(first("flight published")["keep"].parse::<f64>().unwrap(), 600.0);
    let granted = first("lease granted");
    let released = first("lease released");
    assert_eq!(granted["token"], released["token"]);
    assert_eq!((granted["mode"].as_str(), granted["want"].as_str()), ("line", "lock"));
}

/// A subscriber that wants nothing, and is given nothing.
struct Deaf;

impl tracing::Subscriber for Deaf {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        false
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        panic!("nobody listens")
    }
    fn event(&self, _: &tracing::Event<'_>) {
        panic!("nobody listens")
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn where_nobody_listens_nothing_is_told() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _deaf = tracing::subscriber::set_default(Deaf);
    runtime.block_on(usual::everything());
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// What costs something stands inside the macros, which look first whether anybody listens; and all of the
/// library's documented logging stands in one file.
#[test]
fn nothing_is_formatted_before_the_look() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let source = std::fs::read_to_string(root.join("observe.rs")).unwrap();
    for eager in ["format!", ".to_string()", "String", ".clone()"] {
        assert!(!source.contains(eager), "observe.rs does {eager} whether or not anybody listens");
    }
    for path in sources(&root) {
        let inside = path.strip_prefix(&root).unwrap();
        let may = inside == Path::new("observe.rs") || inside.starts_with("store");
        let macros =
            ["trace", "debug", "info", "warn", "error", "event"].map(|level| format!("tracing::{level}!"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(may || !macros.iter().any(|name| text.contains(name)), "{} logs by itself", inside.display());
    }
}
