//! Bugs that are put into a copy of the library: the worlds of the interleavings have to find each.

use std::fs;
use std::path::Path;

use crate::steps::{Failure, Step};

/// A bug: what it changes, and the world that finds it.
struct Plant {
    what: &'static str,
    file: &'static str,
    right: &'static str,
    wrong: &'static str,
    world: &'static str,
}

const PLANTS: &[Plant] = &[
    Plant {
        what: "the keeper says until when it sleeps after it has let go of the book",
        file: "keeper/book.rs",
        right: "        page.sleeps_until = now.after(pause);\n",
        wrong: "        drop(page);\n        let mut page = self.page();\n        page.sleeps_until = now.after(pause);\n",
        world: "book::no_wake_up_is_lost",
    },
    Plant {
        what: "an owner wakes the keeper before its lease is in the book",
        file: "keeper/book.rs",
        right: "        let time = page.renewals.add(Arc::clone(kept), kept.since);\n        page.busy = true;\n        self.wake_by(page, time);\n",
        wrong: "        self.wake(page);\n        page = self.page();\n        page.renewals.add(Arc::clone(kept), kept.since);\n        page.busy = true;\n",
        world: "book::no_wake_up_is_lost",
    },
    Plant {
        what: "a wake-up reaches only a keeper that sleeps already",
        file: "keeper/book.rs",
        right: "        drop(page);\n        self.woken.notify_one();\n",
        wrong: "        drop(page);\n        self.woken.notify_waiters();\n",
        world: "book::no_wake_up_is_lost",
    },
    Plant {
        what: "a request looks whether the client is closed before it has the book",
        file: "keeper/book.rs",
        right: "        let mut page = self.page();\n        if self.is_closed() {\n            return Err(Error::Closed);\n        }\n        let Abandoned { key, ticket, ttl, .. } = request;\n        page.places.entry",
        wrong: "        if self.is_closed() {\n            return Err(Error::Closed);\n        }\n        let mut page = self.page();\n        let Abandoned { key, ticket, ttl, .. } = request;\n        page.places.entry",
        world: "book::closing_leaves_nothing_behind",
    },
    Plant {
        what: "a lease looks whether the client is closed before it has the book",
        file: "keeper/book.rs",
        right: "        let mut page = self.page();\n        if self.is_closed() {\n            return Err(Error::Closed);\n        }\n        let place =",
        wrong: "        if self.is_closed() {\n            return Err(Error::Closed);\n        }\n        let mut page = self.page();\n        let place =",
        world: "book::closing_leaves_nothing_behind",
    },
    Plant {
        what: "a loss that overtakes its grant is forgotten",
        file: "keeper/book.rs",
        right: "            place.lost = Some(Box::new((token, loss.clone())));\n",
        wrong: "            place.lost = None;\n",
        world: "book::a_loss_finds_its_lease",
    },
    Plant {
        what: "a dead keeper is asked for a word",
        file: "keeper/book.rs",
        right: "        if !page.dead {\n            let asked",
        wrong: "        {\n            let asked",
        world: "book::a_flush_ends_though_the_keeper_dies",
    },
    Plant {
        what: "a flush does not wait for the last clean-up",
        file: "keeper/book.rs",
        right: "|(number, _)| *number < first)",
        wrong: "|(number, _)| *number <= first)",
        world: "book::no_wake_up_is_lost",
    },
    Plant {
        what: "the keeper ends with clean-ups to be begun",
        file: "keeper/book.rs",
        right: "!page.open && page.chores.is_empty() && page.under_way.is_empty()",
        wrong: "!page.open",
        world: "book::the_keeper_ends_after_its_work",
    },
    Plant {
        what: "what is told reaches only who waits already",
        file: "store/hub.rs",
        right: "        self.notify.notify_one();\n",
        wrong: "        self.notify.notify_waiters();\n",
        world: "hub::a_grant_is_taken_once",
    },
    Plant {
        what: "a hint overwrites a grant",
        file: "store/hub.rs",
        right: "if wake != Wake::Look || told.is_none() {",
        wrong: "{",
        world: "hub::a_grant_is_taken_once",
    },
    Plant {
        what: "a look that was given up does not put its hint back",
        file: "store/hub.rs",
        right: "            slot.tell(Wake::Look);\n        }\n    }\n}\n\nfn lock",
        wrong: "            let _ = slot;\n        }\n    }\n}\n\nfn lock",
        world: "hub::a_hint_that_is_needed_is_not_lost",
    },
    Plant {
        what: "the session lets in who comes while it wakes those who wait",
        file: "store/hub.rs",
        right: "        lock(&self.state).closed = true;\n        self.look_all(true);\n",
        wrong: "        self.look_all(true);\n        lock(&self.state).closed = true;\n",
        world: "hub::closing_wakes_who_waits",
    },
    Plant {
        what: "those who wait for a result are woken before it is there",
        file: "flights.rs",
        right: "        lock(&self.state).over.get_or_insert(over);\n        self.told.notify_waiters();\n",
        wrong: "        self.told.notify_waiters();\n        lock(&self.state).over.get_or_insert(over);\n",
        world: "flights::a_result_or_the_baton_reaches_everybody",
    },
    Plant {
        what: "who finds the baton free does not look whether there is a result",
        file: "flights.rs",
        right: "Some(Over::Done(outcome)) => return Some(Turn::Done(Arc::clone(outcome))),\n                    Some(Over::Left) => return None,\n                    None if state.driven => {}\n                    None => {",
        wrong: "Some(Over::Done(outcome)) if state.driven => return Some(Turn::Done(Arc::clone(outcome))),\n                    Some(Over::Left) => return None,\n                    None if state.driven => {}\n                    _ => {",
        world: "flights::who_waits_for_the_result_hears_it",
    },
    Plant {
        what: "who leads under a lease that is lost already does not hear of it",
        file: "kept.rs",
        right: "        drop(life);\n        tell();\n",
        wrong: "        drop(life);\n        drop(tell);\n",
        world: "flights::a_lost_leader_holds_nobody_up",
    },
    Plant {
        what: "a flight whose leader is lost is joined again",
        file: "flights.rs",
        right: "        self.flights.remove(self);\n        lock(&self.state)",
        wrong: "        lock(&self.state)",
        world: "flights::a_lost_leader_holds_nobody_up",
    },
    Plant {
        what: "a renewal by the old ttl counts",
        file: "kept.rs",
        right: "let counts = life.changes == asked.changes;",
        wrong: "let counts = true;",
        world: "kept::nor_is_it_when_two_change_the_ttl",
    },
    Plant {
        what: "a renewal by a ttl counts that was given up and is asked for again",
        file: "kept.rs",
        right: "let counts = life.changes == asked.changes;",
        wrong: "let counts = life.ttl == asked.ttl;",
        world: "kept::nor_is_it_when_two_change_the_ttl",
    },
    Plant {
        what: "a shorter request that was given up is forgotten",
        file: "kept.rs",
        right: "            life.deadline = earlier(earlier(end, open), self.until);",
        wrong: "            let _ = open;\n            life.deadline = earlier(end, self.until);",
        world: "kept::what_was_given_up_is_counted_by",
    },
    Plant {
        what: "a later loss replaces the first",
        file: "kept.rs",
        right: "life.loss.get_or_insert_with(|| loss.clone());",
        wrong: "life.loss = Some(loss.clone());",
        world: "kept::a_loss_is_told_once_and_to_all",
    },
    Plant {
        what: "a loss between the look and the wait is missed",
        file: "kept.rs",
        right: "        let mut said = pin!(self.told.notified());\n        said.as_mut().enable();\n        if self.told_loss().is_none() {\n            said.await;",
        wrong: "        if self.told_loss().is_none() {\n            self.told.notified().await;",
        world: "kept::a_loss_is_told_once_and_to_all",
    },
];

/// The copy, below the target directory.
const COPY: &str = "target/planted";

/// Plants each, and has its world find it.
pub(crate) fn plants() -> Result<(), Failure> {
    let mut missed = Vec::new();
    copy_all().map_err(|error| Failure::own(format!("{COPY}: {error}")))?;
    // Where nothing is planted, nothing is found.
    test(&[]).run()?;
    for plant in PLANTS {
        eprintln!("planted: {}", plant.what);
        if !found(plant)? {
            missed.push(format!("{} should find: {}", plant.world, plant.what));
        }
    }
    if !missed.is_empty() {
        return Err(Failure::own(missed.join("\n")));
    }
    eprintln!("all {} were found", PLANTS.len());
    Ok(())
}

fn found(plant: &Plant) -> Result<bool, Failure> {
    let file = Path::new(COPY).join("crates/soloist/src").join(plant.file);
    let failed = |error| Failure::own(format!("{}: {error}", file.display()));
    let text = fs::read_to_string(&file).map_err(failed)?;
    if text.matches(plant.right).count() != 1 {
        return Err(Failure::own(format!("{} has changed: {}", plant.file, plant.what)));
    }
    fs::write(&file, text.replace(plant.right, plant.wrong)).map_err(failed)?;
    // It has to build: what does not compile is not found by any world.
    test(&["--no-run"]).run()?;
    let found = test(&["--", "--exact", plant.world]).fails();
    fs::write(&file, text).map_err(failed)?;
    found
}

fn test(args: &[&str]) -> Step {
    let manifest = format!("{COPY}/Cargo.toml");
    let test = Step::cargo("test").args(["--quiet", "--package", "soloist-interleavings"]);
    test.args(["--manifest-path", &manifest, "--target-dir", "target", "--test", "threads"])
        .args(args.iter().copied())
}

/// Copies what the interleavings are built of: a workspace of their own, which shares what it depends on.
fn copy_all() -> std::io::Result<()> {
    let copy = Path::new(COPY);
    if copy.exists() {
        fs::remove_dir_all(copy)?;
    }
    for folder in ["crates/soloist/src", "interleavings", "docs"] {
        copy_folder(Path::new(folder), &copy.join(folder))?;
    }
    fs::copy("Cargo.lock", copy.join("Cargo.lock"))?;
    let members = |line: &str| line.starts_with("members = ") || line.starts_with("exclude = ");
    let manifest = fs::read_to_string("Cargo.toml")?;
    let lines = manifest.lines().filter(|line| !members(line));
    let lines = lines
        .map(|line| if line == "[workspace]" { "[workspace]\nmembers = [\"interleavings\"]" } else { line });
    fs::write(copy.join("Cargo.toml"), lines.collect::<Vec<_>>().join("\n"))
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type()?.is_dir() {
            true => copy_folder(&from, &to)?,
            false => drop(fs::copy(&from, &to)?),
        }
    }
    Ok(())
}
