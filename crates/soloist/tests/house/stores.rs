//! What holds for every store: a page that tells of it, and wrappers that pass on whatever they do not change.

use std::fs;
use std::path::Path;

fn source(place: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(place)).unwrap()
}

/// The schemes that a URL may have.
fn schemes() -> Vec<String> {
    let code = source("src/store/url.rs");
    let (_, list) = code.split_once("const REDIS").unwrap();
    let (_, list) = list.split_once("=").and_then(|(_, list)| list.split_once('[')).unwrap();
    let (list, _) = list.split_once(']').unwrap();
    let servers = list.split('"').skip(1).step_by(2).map(|scheme| format!("{scheme}://"));
    ["local:", "memory:", "quorum:"].map(String::from).into_iter().chain(servers).collect()
}

/// The schemes that have no section of their own on a page.
fn without_section(page: &str) -> Vec<String> {
    let has = |scheme: &String| page.lines().any(|line| line.starts_with(&format!("## `{scheme}")));
    schemes().into_iter().filter(|scheme| !has(scheme)).collect()
}

#[test]
fn every_scheme_has_its_section() {
    let page = source("../../docs/stores.md");
    assert_eq!(without_section(&page), Vec::<String>::new());
    assert!(schemes().len() >= 10, "{:?}", schemes());
    assert_eq!(without_section(&page.replace("## `memory:", "## `")), ["memory:"]);
}

#[test]
fn the_programs_help_names_every_scheme() {
    let help = source("../soloist-cli/src/help.rs");
    let (_, help) = help.split_once("TOP: &str").unwrap();
    let (help, _) = help.split_once("Exit codes").unwrap();
    let forgotten: Vec<_> = schemes().into_iter().filter(|scheme| !help.contains(scheme.as_str())).collect();
    assert_eq!(forgotten, Vec::<String>::new());
}

/// The verbs of a trait or of an implementation of it: whatever is a `fn` four blanks deep.
fn verbs(text: &str) -> Vec<&str> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("    "));
    let heads = lines.filter_map(|line| line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn ")));
    heads.filter_map(|head| head.split(['(', '<']).next()).collect()
}

/// What stands between this line and the next brace at the left.
fn block<'a>(text: &'a str, head: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(head)?;
    rest.split_once("\n}\n").map(|(block, _)| block)
}

/// The wrappers: stores that hand what they are asked to another one.
const WRAPPERS: &[&str] = &[
    "src/store/prefix.rs",
    "src/store/redis/bridge/mod.rs",
    "src/testing/faulty_store.rs",
    "src/testing/recording.rs",
];

/// The verbs of the trait that a wrapper leaves to their defaults.
fn forgotten(wrapper: &str) -> Vec<String> {
    let law = source("src/store/mod.rs");
    let mine = block(wrapper, "impl Store for ").map(verbs).unwrap_or_default();
    let all = verbs(block(&law, "pub trait Store").unwrap());
    assert!(all.len() > 20, "{all:?}");
    all.into_iter().filter(|verb| !mine.contains(verb)).map(str::to_owned).collect()
}

#[test]
fn a_wrapper_passes_on_every_verb() {
    for place in WRAPPERS {
        assert_eq!(forgotten(&source(place)), Vec::<String>::new(), "{place} leaves these to their defaults");
    }
    let poor = source(WRAPPERS[0]).replace("fn settles(", "fn other(");
    assert_eq!(forgotten(&poor), ["settles"]);
}

#[test]
fn no_wrapper_is_forgotten() {
    // Whoever holds another store and is one.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    for path in crate::sources::sources(&folder.join("src")) {
        let text = fs::read_to_string(&path).unwrap();
        let place = path.strip_prefix(folder).unwrap().to_str().unwrap();
        if text.contains("impl Store for ") && text.contains("inner: Arc<dyn Store>") {
            assert!(WRAPPERS.contains(&place), "{place} wraps a store: name it here");
        }
    }
}
