//! A subscriber that writes down everything.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Metadata, Subscriber};

/// An event or a span.
#[derive(Clone, Debug)]
pub struct Seen {
    pub name: String,
    pub target: String,
    pub level: Level,
    pub span: bool,
    /// The span in which it happened.
    pub inside: Option<String>,
    pub fields: BTreeMap<String, String>,
}

#[derive(Clone, Default)]
pub struct Recorder {
    seen: Arc<Mutex<Vec<Seen>>>,
    /// The names of all spans; a span's id is its place here, from 1.
    spans: Arc<Mutex<Vec<String>>>,
    /// The spans that are entered, the innermost last.
    entered: Arc<Mutex<Vec<Id>>>,
}

impl Recorder {
    /// Listens to this thread until the guard is dropped.
    pub fn listen() -> (Self, DefaultGuard) {
        // What is heard is what this thread says: the keepers have to be on it.
        soloist::testing::keepers_here(true);
        let recorder = Recorder::default();
        let guard = tracing::subscriber::set_default(recorder.clone());
        (recorder, guard)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Everything of this name.
    pub fn all(&self, name: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.name == name).collect()
    }

    fn write_down(&self, meta: &Metadata<'_>, fields: Fields) {
        let (name, target, level) = (meta.name().into(), meta.target().into(), *meta.level());
        let inside = self.entered.lock().unwrap().last().cloned();
        let inside = inside.map(|id| self.spans.lock().unwrap()[id.into_u64() as usize - 1].clone());
        let seen = Seen { name, target, level, span: meta.is_span(), inside, fields: fields.0 };
        self.seen.lock().unwrap().push(seen);
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, meta: &Metadata<'_>) -> bool {
        meta.target().starts_with("soloist")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        span.record(&mut fields);
        self.write_down(span.metadata(), fields);
        let mut spans = self.spans.lock().unwrap();
        spans.push(span.metadata().name().into());
        Id::from_u64(spans.len() as u64)
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.write_down(event.metadata(), fields);
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, id: &Id) {
        self.entered.lock().unwrap().push(id.clone());
    }

    fn exit(&self, id: &Id) {
        let left = self.entered.lock().unwrap().pop();
        assert_eq!(left.as_ref(), Some(id), "spans are left in the order in which they are entered");
    }
}

#[derive(Default)]
struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().into(), format!("{value:?}"));
    }
}
