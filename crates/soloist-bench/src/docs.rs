//! The measured part of docs/performance.md, between two marks, and the plot beside it.

use std::fmt::Write;
use std::path::Path;

use crate::report::Report;
use crate::{Outcome, plot};

const BEGIN: &str = "<!-- measured: written by `cargo xtask bench --docs docs` -->\n";
const END: &str = "<!-- end of measured -->";
const PLOT: &str = "performance-growth.svg";

/// Writes both. What a run of some cases did not measure is gone, so this is for full runs.
pub(crate) fn write(folder: &Path, report: &Report) -> Outcome<()> {
    let path = folder.join("performance.md");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let text =
        replaced(&text, &measured(report)).ok_or_else(|| format!("{} has no marks", path.display()))?;
    std::fs::write(&path, text)?;
    if !report.curves.is_empty() {
        std::fs::write(folder.join(PLOT), plot::svg(&report.curves))?;
    }
    Ok(())
}

fn measured(report: &Report) -> String {
    let mut out = format!("\nMachine: {}.\n\n{}", report.machine, report.table());
    if !report.curves.is_empty() {
        let _ = write!(out, "\n![How cost grows]({PLOT})\n");
    }
    for curve in &report.curves {
        let _ = write!(out, "\n**{}**\n\n{}", curve.title, curve.table());
    }
    out.push('\n');
    out
}

/// The text with everything between the marks replaced.
fn replaced(text: &str, measured: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some([before, BEGIN, measured, END, after].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let text = format!("a\n{BEGIN}old\n{END}\nb\n");
        assert_eq!(replaced(&text, "new\n").unwrap(), format!("a\n{BEGIN}new\n{END}\nb\n"));
        assert_eq!(replaced("a\nb\n", "new\n"), None);
    }
}
