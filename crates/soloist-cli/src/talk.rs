//! What the program says to people: on stderr, one plain line each. Data goes to stdout, by [`crate::out`].

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::{Debug, Write as _};
use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::failure::Failure;
use crate::out::plain;

/// The longest line that is said: more than the longest key and holder together.
const MOST_SAID: usize = 2000;

/// So many lines are kept while none may be printed.
const MOST_KEPT: usize = 200;

static QUIET: AtomicBool = AtomicBool::new(false);
/// What is said while somebody draws on the terminal where it would be printed.
static KEPT: Mutex<Option<VecDeque<String>>> = Mutex::new(None);

/// Sets how much is said, and has the library's own warnings said in the same way, unless they are told otherwise.
pub(crate) fn begin(quiet: bool, verbose: bool, told_otherwise: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
    let limit = match (quiet || told_otherwise && !verbose, verbose) {
        (true, _) => Level::ERROR,
        (false, false) => Level::WARN,
        (false, true) => Level::DEBUG,
    };
    let ours = move |meta: &tracing::Metadata<'_>| {
        *meta.level() <= limit && (meta.target().starts_with("soloist") || *meta.level() <= Level::WARN)
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(|| ToPeople).event_format(Lines);
    // Fails only if it was done before.
    let _ = tracing_subscriber::registry()
        .with(tracing_subscriber::filter::filter_fn(ours))
        .with(lines)
        .try_init();
}

/// Says why the program fails: also when it is to be quiet.
pub(crate) fn failure(failure: &Failure) {
    if failure.message.is_empty() {
        return;
    }
    line(&format!("error: {}", failure.message));
    if let Some(hint) = &failure.hint {
        line(&format!("hint: {hint}"));
    }
}

/// Whether the caller wants to be left alone.
pub(crate) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Says what the caller should know, unless it wants to be left alone.
pub(crate) fn note(text: &str) {
    if !is_quiet() {
        line(text);
    }
}

/// Says what is wrong with the command line: the one thing that takes several lines.
pub(crate) fn usage(text: &str) {
    let lines: Vec<String> = text.lines().map(|line| plain(&short(line))).collect();
    say(&format!("soloist: error: {}", lines.join("\n")));
}

/// One line, whatever names it holds.
fn line(text: &str) {
    say(&format!("soloist: {}", plain(&short(text))));
}

/// An argument can be as long as the system allows: enough of it is shown to know which.
fn short(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MOST_SAID) {
        Some((end, _)) => format!("{}...", &text[..end]).into(),
        None => text.into(),
    }
}

fn say(text: &str) {
    // Nobody may be listening any more; there is no one else to tell.
    let _ = ToPeople.write_all(format!("{text}\n").as_bytes());
}

/// Has what is said kept from now on, for [`kept`] to tell, or printed again.
pub(crate) fn keep(keep: bool) {
    let mut kept = KEPT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    *kept = keep.then(|| kept.take().unwrap_or_default());
}

/// What was kept since the last time, oldest first.
pub(crate) fn kept() -> VecDeque<String> {
    let mut kept = KEPT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    kept.as_mut().map(std::mem::take).unwrap_or_default()
}

/// Where whole lines go: to stderr, unless they are kept.
struct ToPeople;

impl Write for ToPeople {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(kept) = KEPT.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).as_mut() {
            kept.extend(String::from_utf8_lossy(bytes).lines().map(str::to_owned));
            kept.drain(..kept.len().saturating_sub(MOST_KEPT));
            return Ok(bytes.len());
        }
        io::stderr().lock().write_all(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One plain line an event: `soloist: warning: lease lost key=report:42 token=7`.
struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            _ => "debug",
        };
        let mut said = Said::default();
        event.record(&mut said);
        if let Some(text) = said.kindly() {
            return to.write_str(&text);
        }
        writeln!(to, "soloist: {level}: {}{}", plain(&said.message), plain(&said.fields))
    }
}

#[derive(Default)]
struct Said {
    message: String,
    fields: String,
    /// What a finding about the store says.
    store: String,
    what: String,
    fix: String,
}

impl Said {
    /// In words where whoever runs a command is to do something about it.
    fn kindly(&self) -> Option<String> {
        if self.message != "store may lose locks" {
            return None;
        }
        let Said { store, what, fix, .. } = self;
        let warning = format!("warning: {} may lose locks: {}", plain(store), plain(what));
        let way_out = if fix.is_empty() { String::new() } else { format!("{}; ", plain(fix)) };
        Some(format!("soloist: {warning}\nsoloist: hint: {way_out}`soloist doctor` says more\n"))
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "store" => self.store = value.to_owned(),
            "what" => self.what = value.to_owned(),
            "fix" => self.fix = value.to_owned(),
            _ => {}
        }
        self.record_debug(field, &value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
