//! Prometheus text 0.0.4, with numbers as Go prints them.
//!
//! The library's own encoder prints a bucket's bound as `0.00000001` where Go prints `1e-08`.
//! Bounds are label values. A query that joins our series with upstream's compares them as strings.

use std::fmt::Write as _;

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

/// The `Content-Type` of the page.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn render(families: &[MetricFamily]) -> String {
    let mut out = String::with_capacity(16 * 1024);
    for family in families.iter().filter(|family| !family.get_metric().is_empty()) {
        let kind = match family.get_field_type() {
            MetricType::COUNTER => "counter",
            MetricType::GAUGE => "gauge",
            MetricType::HISTOGRAM => "histogram",
            // Nothing here makes the others.
            MetricType::SUMMARY | MetricType::UNTYPED => continue,
        };
        let name = family.name();
        let help = family.help().replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a String cannot fail, here and below.
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for metric in family.get_metric() {
            match family.get_field_type() {
                MetricType::COUNTER => {
                    push(&mut out, name, metric, None, metric.get_counter().get_value());
                }
                MetricType::GAUGE => push(&mut out, name, metric, None, metric.get_gauge().get_value()),
                _ => push_histogram(&mut out, name, metric),
            }
        }
    }
    out
}

fn push_histogram(out: &mut String, name: &str, metric: &Metric) {
    let histogram = metric.get_histogram();
    let bucket = format!("{name}_bucket");
    for b in histogram.get_bucket() {
        let bound = go_float(b.upper_bound());
        push(out, &bucket, metric, Some(&bound), b.cumulative_count() as f64);
    }
    let count = histogram.get_sample_count() as f64;
    push(out, &bucket, metric, Some("+Inf"), count);
    push(out, &format!("{name}_sum"), metric, None, histogram.get_sample_sum());
    push(out, &format!("{name}_count"), metric, None, count);
}

fn push(out: &mut String, name: &str, metric: &Metric, bound: Option<&str>, value: f64) {
    out.push_str(name);
    let labels = metric.get_label().iter().map(|label: &LabelPair| (label.name(), label.value()));
    let mut separator = '{';
    for (key, value) in labels.chain(bound.map(|bound| ("le", bound))) {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(out, "{separator}{key}=\"{value}\"");
        separator = ',';
    }
    if separator == ',' {
        out.push('}');
    }
    let _ = writeln!(out, " {}", go_float(value));
}

/// Go's shortest `%g`: an exponent (of at least two digits) below 1e-4 and from 1e6 on.
fn go_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(exponent) if value != 0.0 && !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", exponent.abs())
        }
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_as_in_go() {
        for (value, want) in [
            (0.0, "0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (2.5, "2.5"),
            (600.0, "600"),
            (123456.0, "123456"),
            (1_000_000.0, "1e+06"),
            (736518144.0, "7.36518144e+08"),
            (1e-8, "1e-08"),
            (1.5e-10, "1.5e-10"),
            (9.999999999999999e-6, "9.999999999999999e-06"),
            (0.0001, "0.0001"),
            (f64::INFINITY, "+Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(go_float(value), want);
        }
    }
}
