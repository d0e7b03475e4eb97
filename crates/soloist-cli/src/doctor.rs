//! `soloist doctor`: what about the store loses locks, and how fast it is.

use std::fmt::Display;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde_json::Value;
use soloist::{Client, ClientBuilder, Error, Finding, Level, Ticket, Told};

use crate::args::DoctorArgs;
use crate::failure::{Failure, OWN, Outcome};
use crate::out::{self, plain};
use crate::talk;

/// The worst findings are errors, or with `--strict` warnings.
const FOUND: u8 = 1;
/// How long each step of the cycle may take.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn doctor(
    builder: impl Fn() -> ClientBuilder,
    url: &str,
    args: DoctorArgs,
    json: bool,
) -> Outcome {
    let client = match builder().connect(url).await {
        Ok(client) => client,
        Err(error) => {
            print(&[Finding::from(error)], json)?;
            return Ok(OWN);
        }
    };
    let mut findings = match client.examine().await {
        Ok(findings) => findings,
        Err(error) => vec![Finding::from(error)],
    };
    // What is shared inside one process only has no second session.
    let other = match url.starts_with("memory:") {
        true => Ok(client.clone()),
        false => builder().connect(url).await,
    };
    let cycle = match other {
        Ok(other) => {
            let cycle = cycle(&client, &other).await;
            crate::close(other).await;
            cycle
        }
        Err(error) => Err(("a second connection", error.to_string(), error.hint().map(Into::into))),
    };
    findings.push(cycle.unwrap_or_else(|(step, why, fix)| failed(step, &why, fix)));
    crate::close(client).await;
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    print(&findings, json)?;
    let worst = findings.first().map_or(Level::Note, |finding| finding.level);
    let bad = if args.strict { Level::Warning } else { Level::Error };
    Ok(if worst >= bad { FOUND } else { 0 })
}

type Step<T> = Result<T, (&'static str, String, Option<String>)>;

/// Runs one step of the cycle; says how long it took.
async fn step<T, E: Display>(
    name: &'static str,
    work: impl IntoFuture<Output = Result<T, E>>,
) -> Step<(T, Duration)> {
    let began = Instant::now();
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(Ok(done)) => Ok((done, began.elapsed())),
        Ok(Err(error)) => Err((name, error.to_string(), None)),
        Err(_) => Err((name, format!("nothing came of it within {PATIENCE:?}"), None)),
    }
}

fn failed(step: &str, why: &str, fix: Option<String>) -> Finding {
    let found =
        Finding::new(Level::Error, "cycle", format!("{step} failed: {why}"), "locks do not work here");
    found.fix(fix.unwrap_or_else(|| "see the other findings; soloist -v doctor says more".into()))
}

/// Takes a key of its own through a real life: held, told, released, handed over. What fails on the way leaves a
/// key that ends at its ttl.
async fn cycle(one: &Client, other: &Client) -> Step<Finding> {
    let key = format!("soloist-doctor:{}", Ticket::mint());
    let ttl = PATIENCE.min(one.ttl());
    let guarded = async {
        match one.try_lock(&key).ttl(ttl).await {
            Ok(Some(lease)) => lease.release().await.map(|()| None),
            Ok(None) => Ok(None),
            Err(error @ Error::Guarded { .. }) => Ok(Some(error)),
            Err(error) => Err(error),
        }
    };
    if let (Some(error), _) = step("taking a lock", guarded).await? {
        let why = "the server has just started, or was emptied: whoever asks in line waits for that";
        return Ok(Finding::new(Level::Note, "boot-guard", error.to_string(), why));
    }
    let (mut events, _) = step("subscribing to events", one.events()).await?;
    let began = Instant::now();
    let (lease, took) = step("taking a lock", one.lock(&key).ttl(ttl)).await?;
    let heard = async {
        while let Some(told) = events.next().await {
            if matches!(told, Told::Event(event) if event.token == lease.token() && event.key == *lease.key())
            {
                return Ok(());
            }
        }
        Err("the subscription ended")
    };
    step("hearing its event", heard).await?;
    let heard = began.elapsed();
    let ((), released) = step("releasing it", lease.release()).await?;

    let (lease, _) = step("taking a lock", one.lock(&key).ttl(ttl)).await?;
    let in_line = async {
        // Far shorter than a person waits, and far longer than it takes.
        while other.inspect(&key).await?.waiting == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let began = Instant::now();
        lease.release().await?;
        Ok::<_, Error>(began)
    };
    let waiting = async { other.lock(&key).ttl(ttl).await.map(|lease| (lease, Instant::now())) };
    let both = async { tokio::try_join!(in_line, waiting) };
    let ((began, (lease, ended)), _) = step("handing it over", both).await?;
    step("releasing it", lease.release()).await?;
    let what = format!(
        "taking a lock took {}, releasing it {}, handing it over {}, hearing of it {}",
        ms(took),
        ms(released),
        ms(ended.saturating_duration_since(began)),
        ms(heard),
    );
    Ok(Finding::new(Level::Note, "cycle", what, "what it takes, from here and now"))
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

fn print(findings: &[Finding], json: bool) -> Outcome<()> {
    if json {
        return findings.iter().try_for_each(|finding| out::json(&object(finding)?));
    }
    let colour =
        std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    for finding in findings {
        text(finding, colour).iter().try_for_each(|line| out::line(line))?;
    }
    let count = |level: Level| {
        let count = findings.iter().filter(|finding| finding.level == level).count();
        format!("{count} {}{}", level.word(), if count == 1 { "" } else { "s" })
    };
    talk::note(&[Level::Error, Level::Warning, Level::Note].map(count).join(", "));
    Ok(())
}

fn object(finding: &Finding) -> Outcome<Value> {
    let found = serde_json::to_value(finding);
    found.map_err(|error| Failure::own(format!("a finding cannot be printed: {error}")))
}

/// A finding for people: what, and below it why and the way out.
fn text(finding: &Finding, colour: bool) -> Vec<String> {
    let word = finding.level.word();
    let shade = match finding.level {
        Level::Error => "31",
        Level::Warning => "33",
        Level::Note => "2",
    };
    let word = if colour { format!("\u{1b}[{shade}m{word:<8}\u{1b}[0m") } else { format!("{word:<8}") };
    let node = finding.node.as_ref().map(|node| format!("{}: ", plain(node))).unwrap_or_default();
    let mut lines = vec![format!("{word} {}: {node}{}", finding.code, plain(&finding.what))];
    lines.push(format!("         {}", plain(&finding.why)));
    lines.extend(finding.fix.as_ref().map(|fix| format!("         fix: {}", plain(fix))));
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn colour_is_only_where_it_is_wanted() {
        let finding = Finding::new(Level::Error, "code", "what\u{1b}[31m", "why").fix("fix").at("h:1");
        assert_eq!(
            text(&finding, false),
            ["error    code: h:1: what\\u{1b}[31m", "         why", "         fix: fix"]
        );
        assert!(text(&finding, true)[0].starts_with("\u{1b}[31merror   \u{1b}[0m code"));
    }

    #[test]
    fn json_has_its_fields() {
        let found = object(&Finding::new(Level::Warning, "code", "what", "why")).ok();
        let expected = json!({ "level": "warning", "code": "code", "node": null, "what": "what", "why": "why", "fix": null });
        assert_eq!(found, Some(expected));
    }
}
