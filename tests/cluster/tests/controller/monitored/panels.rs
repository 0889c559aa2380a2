//! The panels of `manifests/monitoring/dashboard.json`: their queries, asked of a Prometheus, drawn as our own plots.

use std::time::SystemTime;

use cluster::plot::{Line, Plot, Unit, escaped};
use cluster::prometheus::{Prometheus, Series};
use serde_json::Value;

/// The width of the page; Grafana's has 24 columns.
pub(super) const WIDTH: u32 = 1440;
const COLUMN: f64 = 58.0;
/// A row of panels is so high without the names of its lines, and a heading with its distances.
const HEIGHT: f64 = 230.0;
const HEADING: f64 = 44.0;
/// Between two rows, and above the first.
const GAP: f64 = 12.0;
const HEAD: f64 = 84.0;

/// A panel: a heading, or a plot at its place.
pub(super) struct Panel {
    plot: Option<Plot>,
    title: String,
    /// Column, row and width in Grafana's units.
    place: [u64; 3],
}

impl Panel {
    pub(super) fn title(&self) -> &str {
        &self.title
    }

    /// Whether it is a plot without data.
    pub(super) fn is_empty(&self) -> bool {
        self.plot.as_ref().is_some_and(|plot| plot.lines_with_data() == 0)
    }
}

/// Every panel with what it shows from `start` until now.
pub(super) async fn of(prometheus: &Prometheus, start: SystemTime) -> Vec<Panel> {
    let dashboard = include_str!("../../../../../manifests/monitoring/dashboard.json");
    let dashboard: Value = serde_json::from_str(dashboard).expect("JSON");
    let mut panels = Vec::new();
    for panel in dashboard.get("panels").and_then(Value::as_array).expect("panels") {
        let number = |path| panel.pointer(path).and_then(Value::as_u64).expect("a place");
        let place @ [_, _, columns] = ["/gridPos/x", "/gridPos/y", "/gridPos/w"].map(number);
        let title = text(panel, "/title").to_owned();
        let is_plot = text(panel, "/type") == "timeseries";
        assert!(is_plot || text(panel, "/type") == "row", "{title}: panels of this type cannot be drawn");
        let plot = if is_plot { Some(plot(prometheus, start, panel, columns).await) } else { None };
        panels.push(Panel { plot, title, place });
    }
    panels
}

async fn plot(prometheus: &Prometheus, start: SystemTime, panel: &Value, columns: u64) -> Plot {
    let title = text(panel, "/title").to_owned();
    let units =
        [("short", Unit::Number), ("s", Unit::Seconds), ("ops", Unit::PerSecond), ("bytes", Unit::Bytes)];
    let unit = units.into_iter().find(|unit| unit.0 == text(panel, "/fieldConfig/defaults/unit"));
    let (_, unit) = unit.expect("a unit that can be drawn");
    let mut lines = Vec::new();
    for target in panel.get("targets").and_then(Value::as_array).expect("queries") {
        let (legend, query) = (text(target, "/legendFormat"), query(text(target, "/expr")));
        let series = prometheus.range(&query, start).await;
        lines.extend(series.into_iter().map(|one| line(one, legend, start)));
    }
    let until = start.elapsed().expect("time goes on").as_secs_f64();
    let mut plot = Plot { title, unit, size: (columns as f64 * COLUMN, HEIGHT), until, lines };
    // A method of which no call was made has no latency: such a line has a name only.
    plot.lines.retain(|line| line.points.iter().any(|point| point.1.is_finite()));
    plot
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// A query with Grafana's variables replaced. As for Grafana, a rate is over four scrapes at least; a scrape is a second.
fn query(expression: &str) -> String {
    let variables = [("$namespace", ".*"), ("$job", ".*"), ("$__rate_interval", "4s")];
    let query =
        variables.iter().fold(expression.to_owned(), |query, (name, value)| query.replace(name, value));
    assert!(!query.contains('$'), "{query}");
    query
}

fn line(series: Series, legend: &str, start: SystemTime) -> Line {
    let name = series
        .labels
        .iter()
        .fold(legend.to_owned(), |name, (label, value)| name.replace(&format!("{{{{{label}}}}}"), value));
    let start = start.duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_secs_f64();
    let mut points: Vec<(f64, f64)> = Vec::new();
    for (at, value) in series.points {
        // Once a second; where there is nothing, the line has a gap.
        if let Some(&(before, _)) = points.last()
            && at - start - before > 1.5
        {
            points.push((at - start - 0.5, f64::NAN));
        }
        points.push((at - start, value));
    }
    Line { name, points }
}

/// The page, and how high it is.
pub(super) fn page(panels: &[Panel]) -> (String, u32) {
    let mut rows: Vec<u64> = panels.iter().map(|panel| panel.place[1]).collect();
    rows.sort_unstable();
    rows.dedup();
    let (mut body, mut height) = (String::new(), HEAD);
    for row in &rows {
        let in_row = panels.iter().filter(|panel| panel.place[1] == *row);
        let high = in_row.clone().map(|panel| panel.plot.as_ref().map_or(HEADING, Plot::height));
        height += high.fold(0.0, f64::max) + GAP;
        body += "<section>";
        for Panel { plot, title, place: [x, _, w] } in in_row {
            let place = format!("style=\"grid-column:{}/span {w}\"", x + 1);
            body += &match plot {
                Some(plot) => format!("<figure {place}>{}</figure>", plot.svg()),
                None => format!("<h2 {place}>{}</h2>", escaped(title)),
            };
        }
        body += "</section>\n";
    }
    (PAGE.replace("{body}", &body), height.ceil() as u32)
}

const PAGE: &str = r#"<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>The dashboard's queries</title>
<style>
body { margin: 0 12px; background: #f0f1f4; font: 15px sans-serif; color: #1c2430 }
h1 { font-size: 20px; margin: 14px 0 4px } p { margin: 0 0 12px }
section { display: grid; grid-template-columns: repeat(24, 1fr); column-gap: 10px; margin-bottom: 12px; align-items: start }
figure { margin: 0; background: white } svg { display: block; width: 100% } h2 { font-size: 16px; margin: 16px 0 2px }
</style>
<h1>CSI sidecars</h1>
<p>The queries of manifests/monitoring/dashboard.json, asked of a real Prometheus and drawn by Mooring. In Grafana the panels look different.</p>
{body}</html>
"#;
