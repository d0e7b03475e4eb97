//! The tables of docs/observing.md.

use std::collections::BTreeSet;

/// One row: an event or a span.
#[derive(Debug)]
pub struct Row {
    pub name: String,
    pub target: String,
    pub level: String,
    pub fields: BTreeSet<String>,
}

pub fn rows() -> Vec<Row> {
    let page = include_str!("../../../../docs/observing.md");
    let rows = page.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| `")?.split(" | ").collect();
        let ticked =
            |cell: &str| cell.split('`').filter(|part| !part.trim().is_empty()).map(str::to_owned).collect();
        let [name, target, level, fields, _] = cells[..] else { panic!("five columns: {line}") };
        Some(Row {
            name: name.trim_end_matches('`').into(),
            target: target.trim_matches('`').into(),
            level: level.into(),
            fields: ticked(fields),
        })
    });
    rows.collect()
}

pub fn row(name: &str) -> Row {
    let found = rows().into_iter().find(|row| row.name == name);
    found.unwrap_or_else(|| panic!("{name:?} does not stand in docs/observing.md"))
}
