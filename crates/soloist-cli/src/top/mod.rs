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
use std::time::Instant;

use soloist::{Client, StoreUrl};

use crate::args::TopArgs;
use crate::failure::{Failure, Outcome};
use crate::signals::{Signals, until_ended};

use source::Source;
use state::State;

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
    let opened = async {
        let began = Instant::now();
        let source = Source::open(client, &args.pattern, args.interval).await?;
        Ok::<_, Failure>((source, State::new(&args.pattern, began)))
    };
    let (source, state) = until_ended(&mut signals, opened).await?;
    if json {
        return until_ended(&mut signals, lines::lines(source, state, &store, &args)).await;
    }
    live::live(source, state, &store, &args, &mut signals).await
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
