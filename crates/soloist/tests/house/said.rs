//! What the documentation has to say: the cancel safety of whatever is awaited, and an example that runs.

/// One item with its comment.
struct Item<'a> {
    line: usize,
    docs: String,
    hidden: bool,
    /// Up to where its body or its end begins.
    head: String,
    /// What it stands in: `pub trait Store`, `impl<'a> IntoFuture for Lock<'a>`.
    within: &'a str,
}

/// The items of a file that are documented or could be. The file is formatted, so what stands at the left
/// margin holds what is below it.
fn items(text: &str) -> Vec<Item<'_>> {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let (mut items, mut docs, mut hidden, mut within) = (Vec::new(), String::new(), false, "");
    let mut lines = text.lines().enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        let bare = line.trim_start();
        if let Some(doc) = bare.strip_prefix("///") {
            docs += doc;
            docs += "\n";
            continue;
        }
        if bare.starts_with("#[") {
            hidden |= bare.contains("doc(hidden)");
            continue;
        }
        if bare == line && !line.is_empty() {
            within = line;
        }
        let mut head = bare.to_owned();
        if bare.contains("fn ") {
            while let Some((_, more)) = lines.next_if(|_| !head.ends_with(['{', '}', ';'])) {
                head = format!("{head} {}", more.trim());
            }
        }
        items.push(Item { line: at + 1, docs: std::mem::take(&mut docs), hidden, head, within });
        hidden = false;
    }
    items
}

/// What is not said in one file.
pub(crate) fn unsaid(place: &str, text: &str) -> Vec<String> {
    let items = items(text);
    // A request that is awaited itself says so where users look: at its type.
    let awaited = |item: &Item<'_>| {
        let name = item.head.strip_prefix("pub struct ").unwrap_or_default();
        let name = name.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        let into = |other: &Item<'_>| {
            let impls = other.head.split_once("IntoFuture for ").map(|(_, of)| of);
            impls.and_then(|of| of.split(|c: char| !c.is_alphanumeric()).next()) == Some(name)
        };
        !name.is_empty() && items.iter().any(into)
    };
    let mut faults = Vec::new();
    for item in items.iter().filter(|item| !item.hidden) {
        let in_trait = item.within.starts_with("pub trait ");
        let called = item.head.starts_with("pub async fn ")
            || (item.head.starts_with("pub fn ") && item.head.contains("-> impl Future"));
        let awaits = called || awaited(item) || (in_trait && item.head.starts_with("async fn "));
        let mut fault = |what: &str| {
            let head = item.head.split(['(', '{']).next().unwrap_or_default().trim();
            faults.push(format!("{place}:{}: `{head}` {what}", item.line));
        };
        if awaits && !item.docs.contains("# Cancel safety") {
            fault("does not state its cancel safety");
        }
        if awaits && !in_trait && !item.docs.contains("```") {
            fault("has no example");
        }
    }
    faults
}

const SAID: &str = "/// Waits.\n///\n/// # Cancel safety\n/// Safe.\n///\n/// ```\n/// # ()\n/// ```\n";

#[test]
fn what_is_not_said_is_found() {
    let (safety, example) = ("does not state its cancel safety", "has no example");
    let both: &[&str] = &[safety, example];
    let bad: &[(&str, &[&str])] = &[
        ("pub async fn wait() {}", both),
        ("/// Waits.\npub async fn wait() {}", both),
        ("impl Client {\n    /// Waits.\n    pub async fn wait(\n        &self,\n    ) {\n    }\n}", both),
        ("/// Waits.\npub fn wait(\n    key: Key,\n) -> impl Future<Output = ()> {}", both),
        ("/// A request.\npub struct Lock<'a>;\n\nimpl<'a> IntoFuture for Lock<'a> {\n}", both),
        ("pub trait Store {\n    /// Waits.\n    async fn wait(&self);\n}", &[safety]),
        (&(SAID.replace("# Cancel safety", "") + "pub async fn wait() {}"), &[safety]),
        (&(SAID.replace("```", "") + "pub async fn wait() {}"), &[example]),
        // The words belong to the item before.
        (&format!("{SAID}pub async fn one() {{}}\n\n/// Waits.\npub async fn two() {{}}"), both),
    ];
    for (text, missing) in bad {
        let found = unsaid("client.rs", text);
        assert_eq!(found.len(), missing.len(), "{text}\n{found:?}");
        assert!(missing.iter().zip(&found).all(|(what, fault)| fault.ends_with(what)), "{found:?}");
    }
}

#[test]
fn what_is_said_or_not_public_is_in_order() {
    let good = [
        format!("{SAID}#[must_use]\npub async fn wait() {{}}"),
        format!("{SAID}pub struct Lock<'a>;\n\nimpl<'a> IntoFuture for Lock<'a> {{\n}}"),
        "/// For tests.\n#[doc(hidden)]\npub async fn driven() {}".to_owned(),
        "pub(crate) async fn wait() {}\nasync fn other() {}".to_owned(),
        "impl Store for Memory {\n    async fn wait(&self) {}\n}".to_owned(),
        "/// A name.\npub fn name() -> String {}".to_owned(),
        "#[cfg(test)]\nmod tests {\n    pub async fn wait() {}\n}".to_owned(),
    ];
    for text in good {
        assert_eq!(unsaid("client.rs", &text), Vec::<String>::new(), "{text}");
    }
}
