//! Curves as a plain SVG: both axes logarithmic, one panel each.

use std::fmt::Write;

use crate::growth::Curve;
use crate::row::Number;

const WIDE: f64 = 460.0;
const HIGH: f64 = 320.0;
/// Room around a panel's lines.
const LEFT: f64 = 60.0;
const TOP: f64 = 56.0;
const RIGHT: f64 = 20.0;
const BOTTOM: f64 = 44.0;
const COLORS: [&str; 4] = ["#1f6feb", "#d1242f", "#1a7f37", "#8250df"];

/// Powers of ten around these values.
struct Axis {
    least: i32,
    most: i32,
    from: f64,
    to: f64,
}

impl Axis {
    fn of(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let logs: Vec<f64> = values.filter(|value| value.is_finite()).map(log).collect();
        let least = logs.iter().copied().fold(f64::INFINITY, f64::min).min(1e9).floor() as i32;
        let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max).max(-1e9).ceil() as i32;
        let least = least.min(most - 1);
        Axis { least, most, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        let share = (log(value) - f64::from(self.least)) / f64::from(self.most - self.least);
        self.from + share * (self.to - self.from)
    }

    fn marks(&self) -> impl Iterator<Item = f64> {
        (self.least..=self.most).map(|power| 10_f64.powi(power))
    }
}

/// Nothing has no logarithm: it stands at a tenth.
fn log(value: f64) -> f64 {
    value.max(0.1).log10()
}

/// All curves, two beside each other.
pub(crate) fn svg(curves: &[Curve]) -> String {
    let rows = curves.len().div_ceil(2).max(1);
    let (wide, high) = (2.0 * WIDE, rows as f64 * HIGH);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {wide} {high}\" width=\"{wide}\" height=\"{high}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (at, curve) in curves.iter().enumerate() {
        let (x, y) = ((at % 2) as f64 * WIDE, (at / 2) as f64 * HIGH);
        let _ = writeln!(out, "<g transform=\"translate({x} {y})\">");
        panel(&mut out, curve);
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    out
}

fn panel(out: &mut String, curve: &Curve) {
    let over = Axis::of(curve.points.iter().map(|(over, _)| *over), LEFT, WIDE - RIGHT);
    let values = curve.points.iter().flat_map(|(_, values)| values.iter().copied());
    let up = Axis::of(values, HIGH - BOTTOM, TOP);
    text(out, (LEFT, 18.0), "start", "font-weight=\"bold\" font-size=\"12\"", curve.title);
    for mark in over.marks() {
        let x = over.at(mark);
        line(out, (x, TOP), (x, HIGH - BOTTOM));
        text(out, (x, HIGH - BOTTOM + 15.0), "middle", "", &Number(mark).to_string());
    }
    for mark in up.marks() {
        let y = up.at(mark);
        line(out, (LEFT, y), (WIDE - RIGHT, y));
        text(out, (LEFT - 6.0, y + 4.0), "end", "", &Number(mark).to_string());
    }
    text(out, (WIDE / 2.0, HIGH - 10.0), "middle", "", curve.over);
    text(out, (LEFT - 6.0, TOP - 10.0), "end", "", curve.unit);
    for (at, name) in curve.names.iter().enumerate() {
        let color = COLORS[at % COLORS.len()];
        let points: Vec<(f64, f64)> = curve
            .points
            .iter()
            .filter_map(|(over_at, values)| Some((over.at(*over_at), values.get(at).copied()?)))
            .filter(|(_, value)| value.is_finite())
            .map(|(x, value)| (x, up.at(value)))
            .collect();
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let path = path.join(" ");
        let _ = writeln!(
            out,
            "<polyline points=\"{path}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>"
        );
        for (x, y) in points {
            let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{color}\"/>");
        }
        let legend = (LEFT + at as f64 * (WIDE - LEFT - RIGHT) / curve.names.len() as f64, 36.0);
        text(out, legend, "start", &format!("fill=\"{color}\""), name);
    }
}

fn line(out: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let _ = writeln!(
        out,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#d0d7de\"/>"
    );
}

fn text(out: &mut String, (x, y): (f64, f64), anchor: &str, more: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {more}>{text}</text>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_stands_inside_its_panel() {
        let points = vec![(0.0, vec![3.0, f64::NAN]), (1e6, vec![3000.0, 0.0])];
        let names = vec!["a < b", "c"];
        let drawn = svg(&[Curve { title: "t", over: "o", unit: "us", names, points }]);
        let marks: Vec<(f64, f64)> = drawn
            .lines()
            .filter_map(|line| line.strip_prefix("<circle cx=\""))
            .map(|line| {
                let mut words = line.split('"');
                let x = words.next().unwrap().parse().unwrap();
                (x, words.nth(1).unwrap().parse().unwrap())
            })
            .collect();
        assert_eq!(marks.len(), 3, "what could not be measured is not drawn: {drawn}");
        for (x, y) in marks {
            assert!((LEFT..=WIDE - RIGHT).contains(&x) && (TOP..=HIGH - BOTTOM).contains(&y), "{x} {y}");
        }
        assert!(drawn.contains("a &lt; b") && drawn.ends_with("</svg>\n"));
    }
}
