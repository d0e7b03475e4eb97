//! What the program prints for other programs and people to use: on stdout.

use std::io::{ErrorKind, Write};

use serde_json::Value;

use crate::failure::{Failure, Outcome};

/// Prints one line and lets it out at once. A reader that has gone away ends the program quietly.
pub(crate) fn line(text: &str) -> Outcome<()> {
    let mut stdout = std::io::stdout().lock();
    let written = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::silent(0),
        _ => Failure::own(format!("stdout: {error}")),
    })
}

/// Prints one JSON object on one line.
pub(crate) fn json(value: &Value) -> Outcome<()> {
    line(&value.to_string())
}

/// A text on one line that moves no cursor: control characters are shown escaped.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        // Also what turns the direction of writing: a name must not look like another.
        if c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}')
        {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
}

/// A text as an argument that a person can copy into a shell.
pub(crate) fn argument(text: &str) -> String {
    let bare = |c: char| c.is_alphanumeric() || "-_./:@%+=,".contains(c);
    let quoted = if !text.is_empty() && text.chars().all(bare) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    };
    if text.starts_with('-') { format!("-- {quoted}") } else { quoted }
}

/// Rows as aligned columns; the last column is not filled up.
pub(crate) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_can_be_copied_into_a_shell() {
        for (text, shown) in [
            ("report:42", "report:42"),
            ("a b", "'a b'"),
            ("it's", "'it'\\''s'"),
            ("$(rm x)", "'$(rm x)'"),
            ("-x", "-- -x"),
        ] {
            assert_eq!(argument(text), shown);
        }
    }

    #[test]
    fn control_characters_are_shown_escaped() {
        assert_eq!(plain("a\nb\u{1b}[31m ü"), "a\\nb\\u{1b}[31m ü");
    }
}
