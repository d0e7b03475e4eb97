//! `soloist top --json`: one object a list, for programs.

use std::time::Instant;

use serde_json::json;

use super::Opened;
use super::source::Came;
use crate::args::TopArgs;
use crate::failure::{Failure, Outcome};
use crate::out;
use crate::units::utc_now;

/// Prints until it is ended or has printed so many. What fails is printed, too: the store may come back.
pub(super) async fn lines(opened: Opened, store: &str, args: &TopArgs) -> Outcome {
    let Opened { mut source, mut state, first } = opened;
    let mut first = Some(first);
    let mut lists = 0;
    loop {
        let came = match first.take() {
            Some(first) => Came::List(Ok(first)),
            None => source.next().await?,
        };
        let list = match came {
            Came::List(list) => list,
            Came::Told(all) => {
                all.into_iter().for_each(|told| state.tell(told, Instant::now()));
                continue;
            }
            Came::Details(_) => continue,
        };
        lists += 1;
        let at = utc_now() / 1000;
        let error = list.as_ref().err().map(ToString::to_string);
        match list {
            Ok(listed) => {
                let mut picture = state.picture(listed, Instant::now());
                picture.sort(args.sort);
                let (totals, keys) = picture.object();
                out::json(
                    &json!({ "at_unix_ms": at, "store": store, "error": null, "totals": totals, "keys": keys }),
                )?;
            }
            // Nothing is known of the keys: that is not the same as that there are none.
            Err(_) => out::json(
                &json!({ "at_unix_ms": at, "store": store, "error": error, "totals": null, "keys": null }),
            )?,
        }
        if args.times.is_some_and(|times| lists >= times) {
            return error.map_or(Ok(0), |error| Err(Failure::own(error)));
        }
    }
}
