//! Metrics pages as promtool's input series.

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
