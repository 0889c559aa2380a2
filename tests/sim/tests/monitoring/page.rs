//! Metrics pages as promtool's input series.

use std::collections::BTreeMap;

/// The labels that a PodMonitor adds to each series.
const TARGET: &str =
    r#"namespace="storage",job="driver",pod="driver-0",container="mooring",instance="driver-0""#;

/// Each series of a page with its value.
pub(crate) fn samples(page: &str) -> Vec<(String, f64)> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a sample");
            let series = match series.split_once('{') {
                Some((family, labels)) => format!("{family}{{{TARGET},{labels}"),
                None => format!("{series}{{{TARGET}}}"),
            };
            (series, value.parse().expect("a number"))
        })
        .collect()
}

/// One page, scraped again and again.
pub(crate) fn constant(page: &str) -> Vec<(String, String)> {
    samples(page).into_iter().map(|(series, value)| (series, format!("{value}+0x20"))).collect()
}

/// Pages that were scraped one after the other. Only families that `wanted` takes.
pub(crate) fn course(pages: &[String], wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (number, page) in pages.iter().enumerate() {
        for (series, value) in samples(page) {
            if wanted(series.split('{').next().unwrap_or_default()) {
                let values = all.entry(series).or_default();
                values.resize(number, "_".to_owned());
                values.push(value.to_string());
            }
        }
    }
    all.into_iter().map(|(series, values)| (series, values.join(" "))).collect()
}

#[test]
fn a_series_that_begins_late_has_gaps_before() {
    let pages = ["a 1\n", "# HELP b B.\na 2\nb{c=\"d e\"} 0.5\n"].map(str::to_owned);
    let expected = [
        (format!("a{{{TARGET}}}"), "1 2".to_owned()),
        (format!("b{{{TARGET},c=\"d e\"}}"), "_ 0.5".to_owned()),
    ];
    assert_eq!(course(&pages, |_| true), expected);
}
