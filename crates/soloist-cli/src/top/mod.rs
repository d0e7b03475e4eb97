//! `soloist top`: which keys are busy, who waits, and what gets lost, as it happens.
//!
//! From the inside out: `window` counts, `state` knows, `news` is what happened last, `picture` is what there is to be seen and `face` what was chosen of
//! it; all of these are plain values. `view` draws with `bars` and `columns`, `keys` hears what is typed, `screen` has the terminal,
//! `source` asks the store. `live` brings them together, and `lines` those that `--json` needs.

mod bars;
mod columns;
mod face;
mod keys;
mod lines;
mod live;
mod news;
mod picture;
mod screen;
mod source;
mod state;
mod text;
mod view;
mod window;

use std::io::IsTerminal as _;
use std::pin::pin;
use std::time::{Duration, Instant};

use soloist::{Client, KeyInfo, StoreUrl};

use crate::args::TopArgs;
use crate::failure::{Failure, Outcome};
use crate::signals::{Signals, until_ended};
use crate::talk;

use source::{Came, Source};
use state::State;

/// Whoever has asked is told after so long that it takes longer.
const SOON: Duration = Duration::from_secs(2);

/// Says at once, before any store is asked, when there is nothing to draw on.
pub(crate) fn check(json: bool) -> Outcome<()> {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let why = match (json, std::io::stdout().is_terminal(), dumb) {
        (true, ..) | (_, true, false) => return Ok(()),
        (_, false, _) => "stdout is not a terminal",
        (_, true, true) => "this terminal (TERM=dumb) cannot show a full screen",
    };
    Err(Failure::own(why).hint("pass --json for one object a refresh; `soloist ls` lists the keys once"))
}

pub(crate) async fn top(client: &Client, url: &str, args: TopArgs, json: bool) -> Outcome {
    let mut signals = Signals::listen()?;
    let store = shown(url);
    let opened = until_ended(&mut signals, patiently(open(client, &args))).await?;
    if json {
        return until_ended(&mut signals, lines::lines(opened, &store, &args)).await;
    }
    live::live(opened, &store, &args, &mut signals).await
}

/// A store that has answered: its events, and its first list.
struct Opened {
    source: Source,
    state: State,
    first: Vec<KeyInfo>,
}

/// One that does not answer now is an error, as for every command; later it is told, and waited for.
async fn open(client: &Client, args: &TopArgs) -> Outcome<Opened> {
    let began = Instant::now();
    let mut source = Source::open(client, &args.pattern, args.interval).await?;
    let mut state = State::new(&args.pattern, began);
    loop {
        match source.next().await? {
            Came::List(list) => return Ok(Opened { source, state, first: list? }),
            Came::Told(all) => all.into_iter().for_each(|told| state.tell(told, Instant::now())),
            Came::Details(_) => {}
        }
    }
}

/// Says that it goes on, when it takes long.
async fn patiently<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    if let Ok(done) = tokio::time::timeout(SOON, &mut work).await {
        return done;
    }
    talk::note("the store is looked through; that takes long where it has very many keys");
    work.await
}

/// The store's URL, without what is secret in it.
fn shown(url: &str) -> String {
    match url {
        "" => "local:".into(),
        url => url.parse::<StoreUrl>().map_or_else(|_| "the store".into(), |url| url.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_of_the_store_is_shown() {
        assert_eq!(shown(""), "local:");
        assert_eq!(shown("redis://user:geheim@cache:6379/0?pass=geheim"), "redis://user:***@cache:6379/0");
        assert!(!shown("geheim").contains("geheim"));
    }
}
