//! `soloist show`, `ls`, `watch`, `forget`: what is, and what happens.

use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};

use soloist::{Client, Event, EventKind, Glob, Key, KeyInfo, OutcomeKind, Told, WaiterInfo, Want};

use crate::args::{KeyArgs, PatternArgs, ShowArgs};
use crate::failure::{BUSY, Failure, Outcome, left};
use crate::out::{self, plain};
use crate::signals::{Signals, until_ended};
use crate::talk;
use crate::units::{human, utc};

/// Said where a list is empty.
pub(crate) const NONE: &str = "no key is held, waited for, or has a result";
/// Said in place of events that could not be heard.
pub(crate) const MISSED: &str = "missed: some events could not be heard";

/// The columns of [`row`].
pub(crate) const HEAD: [&str; 8] = ["KEY", "HOLDER", "TOKEN", "HELD", "LEFT", "WAITING", "RESULT", "NOTE"];

pub(crate) async fn show(client: &Client, args: ShowArgs, json: bool) -> Outcome {
    let info = client.inspect(&args.key).await?;
    if json {
        out::json(&object(&info, true))?;
    } else {
        out::line(&text(&info))?;
    }
    Ok(if args.exit_code && info.holding.is_some() { BUSY } else { 0 })
}

pub(crate) async fn ls(client: &Client, args: PatternArgs, json: bool) -> Outcome {
    let infos = client.list(&args.pattern).await?;
    if json {
        for info in &infos {
            out::json(&object(info, false))?;
        }
        return Ok(0);
    }
    if infos.is_empty() {
        talk::note(NONE);
        return Ok(0);
    }
    let mut rows = vec![HEAD.map(String::from).to_vec()];
    rows.extend(infos.iter().map(row));
    for line in out::table(&rows) {
        out::line(&line)?;
    }
    Ok(0)
}

pub(crate) async fn watch(client: &Client, args: PatternArgs, json: bool) -> Outcome {
    let mut signals = Signals::listen()?;
    let glob = Glob::new(&args.pattern);
    let work = async {
        let mut events = client.events().await?;
        talk::note("watching; ctrl-C ends it");
        while let Some(told) = events.next().await {
            match told {
                Told::Event(event) if !glob.matches(event.key.as_str()) => {}
                Told::Event(event) if json => out::json(&event_object(&event))?,
                Told::Event(event) => out::line(&event_text(&event))?,
                Told::ClockStepped { by_ms } if json => {
                    out::json(&json!({ "event": "clock_stepped", "by_ms": by_ms }))?;
                }
                Told::ClockStepped { by_ms } => out::line(&clock_stepped_text(by_ms))?,
                _ if json => out::json(&json!({ "event": "missed" }))?,
                _ => out::line(MISSED)?,
            }
        }
        Err::<u8, Failure>(Failure::own("the store ended the subscription"))
    };
    until_ended(&mut signals, work).await
}

pub(crate) async fn forget(client: &Client, args: KeyArgs, json: bool) -> Outcome {
    let forgot = client.forget(&args.key).await?;
    if json {
        out::json(&json!({ "key": args.key, "forgot": forgot }))?;
    } else if !forgot {
        talk::note(&format!("no result was kept for {:?}", Key::new(&args.key)?));
    }
    Ok(0)
}

fn want(want: Want) -> &'static str {
    match want {
        Want::Lock => "lock",
        Want::Flight => "once",
    }
}

fn kind(kind: OutcomeKind) -> &'static str {
    match kind {
        OutcomeKind::Value => "value",
        OutcomeKind::Error => "error",
    }
}

/// How long ago that was, by the store's clock.
pub(crate) fn since(info: &KeyInfo, then: u64) -> Duration {
    Duration::from_micros(info.now.saturating_sub(then))
}

/// A key as `show` and `ls` print it with `--json`; the field names are stable.
pub(crate) fn object(info: &KeyInfo, with_waiters: bool) -> Value {
    let now = info.holding.as_ref();
    let mut object = json!({
        "key": info.key,
        "held": now.is_some(),
        "holder": now.map(|now| &now.holder),
        "token": now.map(|now| now.token),
        "purpose": now.map(|now| want(now.want)),
        "note": now.and_then(|now| now.note.as_ref()),
        "since_unix_ms": now.map(|now| now.since / 1000),
        "held_ms": now.map(|now| since(info, now.since).as_millis() as u64),
        "left_ms": left(info).map(|left| left.as_millis() as u64),
        "waiting": info.waiting,
        "result": info.result.as_ref().map(|result| json!({
            "leader": result.leader,
            "token": result.token,
            "kind": kind(result.kind),
            "size": result.size,
            "published_unix_ms": result.at / 1000,
            "left_ms": result.until.saturating_sub(info.now) / 1000,
        })),
    });
    if with_waiters {
        let waiter = |waiter: &WaiterInfo| json!({ "holder": waiter.holder, "note": waiter.note, "purpose": want(waiter.want) });
        object["waiters"] = info.waiters.iter().map(waiter).collect();
    }
    object
}

/// A key as `show` prints it for people.
pub(crate) fn text(info: &KeyInfo) -> String {
    let mut lines = vec![plain(info.key.as_str())];
    let mut line = |name: &str, value: String| lines.push(format!("  {name:<8} {}", plain(&value)));
    match &info.holding {
        None => line("holder", "nobody: it is free".into()),
        Some(now) => {
            line("holder", now.holder.to_string());
            line("token", now.token.to_string());
            line("purpose", want(now.want).into());
            line("since", format!("{}, {} ago", utc(now.since), human(since(info, now.since))));
            line(
                "left",
                left(info)
                    .map_or("until it is released".into(), |left| format!("{} unless renewed", human(left))),
            );
            if let Some(note) = &now.note {
                line("note", note.to_string());
            }
        }
    }
    for (place, waiter) in info.waiters.iter().enumerate() {
        let note = waiter.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
        line("waiting", format!("{}. {}{note} [{}]", place + 1, waiter.holder, want(waiter.want)));
    }
    if let Some(result) = &info.result {
        let left = human(Duration::from_micros(result.until.saturating_sub(info.now)));
        let what = match result.kind {
            OutcomeKind::Value => "",
            OutcomeKind::Error => ", of a failure",
        };
        line("result", format!("{} bytes{what}, by {}, kept for another {left}", result.size, result.leader));
    }
    lines.join("\n")
}

/// A key as `ls` prints it for people.
pub(crate) fn row(info: &KeyInfo) -> Vec<String> {
    let dash = || "-".to_owned();
    let mut row = vec![plain(info.key.as_str())];
    match &info.holding {
        None => row.extend([dash(), dash(), dash(), dash()]),
        Some(now) => row.extend([
            plain(now.holder.as_str()),
            now.token.to_string(),
            human(since(info, now.since)),
            left(info).map_or_else(dash, human),
        ]),
    }
    row.push(info.waiting.to_string());
    row.push(info.result.as_ref().map_or_else(dash, |result| format!("{} bytes", result.size)));
    let note = info.holding.as_ref().and_then(|now| now.note.as_ref());
    row.push(note.map(|note| plain(note.as_str())).unwrap_or_default());
    row
}

fn event_object(event: &Event) -> Value {
    let mut object = json!({
        "event": event.kind.word(),
        "key": event.key,
        "holder": event.holder,
        "token": event.token,
        "at_unix_ms": event.at / 1000,
    });
    if let EventKind::TakenOver { from } = &event.kind {
        object["from"] = json!(from);
    }
    object
}

pub(crate) fn clock_stepped_text(by_ms: i64) -> String {
    format!("clock_stepped: the server's clock was set by {by_ms} ms")
}

pub(crate) fn event_text(event: &Event) -> String {
    let from = match &event.kind {
        EventKind::TakenOver { from } => format!(" from {}", plain(from.as_str())),
        _ => String::new(),
    };
    let (key, holder) = (plain(event.key.as_str()), plain(event.holder.as_str()));
    format!("{}  {:<10}  {key}  {holder}  {}{from}", utc(event.at), event.kind.word(), event.token)
}
