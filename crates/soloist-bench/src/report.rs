//! Everything that a run found: the table, and the same as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::bench::Bench;
use crate::growth::Curve;
use crate::row::{Number, Row, Series};

const HEAD: [&str; 9] = ["case", "unit", "ours", "floor", "rival", "ours/floor", "ours/rival", "goal", "met"];

/// The rows and curves of a run.
#[derive(Debug)]
pub(crate) struct Report {
    /// Where it ran, in a sentence.
    pub(crate) machine: String,
    pub(crate) rows: Vec<Row>,
    pub(crate) curves: Vec<Curve>,
    /// The cases that could not run, and why.
    pub(crate) broken: Vec<String>,
}

impl Report {
    pub(crate) fn new(bench: &Bench) -> Self {
        Report { machine: machine(bench), rows: Vec::new(), curves: Vec::new(), broken: Vec::new() }
    }

    pub(crate) fn missed(&self) -> bool {
        self.rows.iter().any(|row| row.met() == Some(false))
    }

    fn cells(&self) -> Vec<[String; 9]> {
        let ratio = |ratio: Option<f64>| ratio.map_or("-".into(), |ratio| Number(ratio).to_string());
        let row = |row: &Row| {
            [
                row.case.clone(),
                row.unit.into(),
                series(Some(&row.ours)),
                series(row.floor.as_ref()),
                row.no_rival.as_ref().map_or_else(|| series(row.rival.as_ref()), |why| format!("- ({why})")),
                ratio(row.over_floor()),
                ratio(row.over_rival()),
                row.goal_text(),
                row.met().map_or("", |met| if met { "yes" } else { "no" }).into(),
            ]
        };
        self.rows.iter().map(row).collect()
    }

    /// The table, as Markdown that is aligned for terminals too.
    pub(crate) fn table(&self) -> String {
        let mut lines = vec![HEAD.map(str::to_owned)];
        lines.extend(self.cells());
        table(&lines.iter().map(|line| line.to_vec()).collect::<Vec<_>>())
    }

    pub(crate) fn print(&self) {
        println!("{}\n", self.machine);
        if !self.rows.is_empty() {
            println!("{}", self.table());
        }
        for curve in &self.curves {
            println!("{}\n{}", curve.title, curve.table());
        }
        let goals = self.rows.iter().filter_map(Row::met);
        let (met, missed): (Vec<bool>, Vec<bool>) = goals.partition(|met| *met);
        println!("goals: {} met, {} missed", met.len(), missed.len());
        self.broken.iter().for_each(|broken| println!("could not run: {broken}"));
    }

    pub(crate) fn json(&self) -> String {
        let value = |series: Option<&Series>| series.map_or(Value::Null, |series| json!(series.median()));
        let range = |series: Option<&Series>| series.map_or(Value::Null, |series| json!(series.range()));
        let case = |row: &Row| {
            json!({
                "case": row.case,
                "ours": value(Some(&row.ours)),
                "floor": value(row.floor.as_ref()),
                "rival": value(row.rival.as_ref()),
                "unit": row.unit,
                "ratio": row.over_floor(),
                "goal": row.goal_text(),
                "met": row.met(),
                "rival_ratio": row.over_rival(),
                "rival_failed": row.no_rival,
                "ours_range": range(Some(&row.ours)),
                "floor_range": range(row.floor.as_ref()),
                "rival_range": range(row.rival.as_ref()),
            })
        };
        let cases: Vec<Value> = self.rows.iter().map(case).collect();
        let growth: Vec<Value> = self.curves.iter().map(Curve::json).collect();
        let all = json!({
            "machine": self.machine,
            "cases": cases,
            "growth": growth,
            "could_not_run": self.broken,
        });
        format!("{all:#}\n")
    }
}

/// The median, and where the rounds differ the least and the most.
fn series(series: Option<&Series>) -> String {
    let Some(series) = series else { return "-".into() };
    let (least, most) = series.range();
    let (median, least, most) = (Number(series.median()), Number(least), Number(most));
    let (median, least, most) = (median.to_string(), least.to_string(), most.to_string());
    if least == most { median } else { format!("{median} ({least} .. {most})") }
}

/// Rows of cells as a table; the first is its head.
pub(crate) fn table(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for (at, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(out, "| {cell:<width$} ");
        }
        out.push_str("|\n");
        if at == 0 {
            widths.iter().for_each(|width| {
                let _ = write!(out, "|{}", "-".repeat(width + 2));
            });
            out.push_str("|\n");
        }
    }
    out
}

fn machine(bench: &Bench) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let cpu = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("an unknown CPU");
    let cpu = cpu.trim_start_matches(['\t', ' ', ':']);
    let redis = std::process::Command::new("redis-server").arg("--version").output();
    let redis = redis.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
    let redis = redis.split_whitespace().find_map(|word| word.strip_prefix("v=")).unwrap_or("?").to_owned();
    let load = read("/proc/loadavg").split(' ').next().unwrap_or("?").to_owned();
    let linux = rustix::system::uname().release().to_string_lossy().into_owned();
    let kind = if bench.quick { "a quick run" } else { "a full run" };
    format!(
        "{kind} on {} of {cpu}, Linux {linux}, Redis {redis}, load average at the start {load}",
        match bench.cpus.count() {
            1 => "one CPU".to_owned(),
            count => format!("{count} CPUs"),
        }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Bound, Of};

    #[test]
    fn the_json_has_what_readers_look_for() {
        let row = Row::new("c", "1/s", Series::one(9.0)).floor(Series::one(10.0));
        let gone = Row::new("gone", "us", Series::one(1.0)).rival_or_why(Err("it gave up".into()));
        let rows = vec![row.goal(Of::Floor, Bound::AtLeast(0.95)), gone];
        let report = Report { machine: "m".into(), rows, curves: Vec::new(), broken: Vec::new() };
        let read: Value = serde_json::from_str(&report.json()).unwrap();
        let case = &read["cases"][0];
        assert_eq!(case["case"], "c");
        assert_eq!((&case["ours"], &case["floor"], &case["ratio"]), (&json!(9.0), &json!(10.0), &json!(0.9)));
        assert_eq!((&case["rival"], &case["unit"]), (&Value::Null, &json!("1/s")));
        assert_eq!((&case["goal"], &case["met"]), (&json!(">= 0.95x floor"), &json!(false)));
        assert_eq!(case["rival_failed"], Value::Null);
        let gone = &read["cases"][1];
        assert_eq!((&gone["rival"], &gone["rival_failed"]), (&Value::Null, &json!("it gave up")));
        assert!(report.table().contains("| - (it gave up) "));
        assert!(report.missed());
        assert!(report.table().lines().all(|line| line.starts_with('|') && line.ends_with('|')));
    }
}
