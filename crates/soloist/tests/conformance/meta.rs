//! No store and no check is forgotten.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::sources::sources;

/// The names of the types for which the trait is implemented.
fn stores_in(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| line.starts_with("impl ") || line.starts_with("impl<"));
    let names = lines.filter_map(|line| line.split_once(" Store for ").map(|(_, name)| name));
    names.map(|name| name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()).collect()
}

/// The names of the checks in one file.
fn checks_in(module: &str, text: &str) -> Vec<String> {
    let names = text
        .lines()
        .filter_map(|line| line.strip_prefix("pub async fn ")?.split_once("(fixture: &dyn Fixture)"));
    names.map(|(name, _)| format!("{module}::{name}")).collect()
}

#[test]
fn every_store_stands_in_the_table() {
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    for path in sources(&crate_root.join("src")) {
        found.extend(stores_in(&fs::read_to_string(path).unwrap()));
    }
    assert!(found.contains("MemoryStore"), "the scanner finds the stores: {found:?}");
    // The server of simulations lives on virtual time only.
    for store in found.iter().filter(|store| *store != "SimulatedStore") {
        let known = crate::STORES.contains(&store.as_str());
        assert!(known, "{store} implements Store and has no line in the table of tests/conformance/main.rs");
    }
}

#[test]
fn every_check_stands_in_the_table() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/checks");
    let mut found = BTreeSet::new();
    for path in sources(&folder) {
        let module = path.file_stem().unwrap().to_str().unwrap();
        found.extend(checks_in(module, &fs::read_to_string(&path).unwrap()));
    }
    let table: BTreeSet<String> = crate::CHECKS.iter().map(|check| (*check).to_owned()).collect();
    assert!(found.len() > 60, "the scanner finds the checks: {found:?}");
    assert_eq!(found, table, "the checks on the left exist, those on the right stand in the table");
}

#[test]
fn what_is_exempt_exists() {
    let names = crate::exempt::EXEMPT.iter().flat_map(|(names, _)| *names);
    for name in names {
        let group = name.strip_suffix('*');
        let there = |check: &&str| *check == *name || group.is_some_and(|group| check.starts_with(group));
        assert!(crate::CHECKS.iter().any(there), "{name} is no check");
    }
}

#[test]
fn the_scanners_see_what_they_should() {
    let text = "#[async_trait]\nimpl Store for Quorum {\nimpl<S: Store> Store for Prefixed<S> {\n// no Store for you\nimpl Debug for Store {}";
    assert_eq!(stores_in(text), ["Quorum", "Prefixed"]);
    let text = "pub async fn a(fixture: &dyn Fixture) {\nasync fn helper(fixture: &dyn Fixture) {\npub async fn b(x: u8) {";
    assert_eq!(checks_in("m", text), ["m::a"]);
}
