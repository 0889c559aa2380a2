//! Memory and CPU over time, as SVG.

use std::fmt::Write as _;

use super::figures::{Run, Sample};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 300.0;
/// Room for the numbers: left, and at each other side.
const MARGINS: (f64, f64) = (60.0, 40.0);
const COLOURS: [&str; 6] = ["#1f77b4", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#7f7f7f"];

/// A name and its points, in the units of the axes.
type Line = (String, Vec<(f64, f64)>);

/// The files and what is in them: the first run of each set.
pub(super) fn plots(sets: &[(String, Vec<Run>)]) -> [(&'static str, String); 2] {
    let lines = |figure: &dyn Fn(&Sample) -> f64| {
        let line = |(name, runs): &(String, Vec<Run>)| {
            let samples = runs.first().map_or(&[][..], |run| &run.samples);
            (name.clone(), samples.iter().map(|sample| (sample.at, figure(sample))).collect())
        };
        sets.iter().map(line).collect::<Vec<Line>>()
    };
    let memory = lines(&|sample| sample.usage.resident as f64 / f64::from(1 << 20));
    let cpu = lines(&|sample| sample.usage.cpu);
    [
        ("lives-memory.svg", plot("resident memory of all processes, MiB", &memory)),
        ("lives-cpu.svg", plot("CPU of all processes since their start, s", &cpu)),
    ]
}

fn plot(title: &str, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let most = |of: &dyn Fn(&(f64, f64)) -> f64| points().map(of).fold(f64::MIN_POSITIVE, f64::max);
    let (x_step, y_step) = (step(most(&|point| point.0)), step(most(&|point| point.1)));
    let (x_end, y_end) = (end(most(&|point| point.0), x_step), end(most(&|point| point.1), y_step));
    let (left, margin) = MARGINS;
    let x = |value: f64| left + value / x_end * (WIDTH - left - margin);
    let y = |value: f64| HEIGHT - margin - value / y_end * (HEIGHT - 2.0 * margin);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{left}\" y=\"20\" font-size=\"14\">{title}</text>\n"
    );
    let mut put = |text: String| {
        let _ = writeln!(svg, "{text}");
    };
    for number in 0..=(y_end / y_step).round() as usize {
        let value = number as f64 * y_step;
        let at = y(value);
        put(format!("<path d=\"M{left} {at:.1}H{}\" stroke=\"#ddd\"/>", WIDTH - margin));
        put(format!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>", left - 6.0, at + 4.0));
    }
    for number in 0..=(x_end / x_step).round() as usize {
        let value = number as f64 * x_step;
        put(format!(
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{value} s</text>",
            x(value),
            HEIGHT - margin + 18.0
        ));
    }
    for (number, (name, points)) in lines.iter().enumerate() {
        let colour = COLOURS.get(number % COLOURS.len()).unwrap_or(&"black");
        let path: Vec<String> =
            points.iter().map(|(at, value)| format!("{:.1} {:.1}", x(*at), y(*value))).collect();
        put(format!(
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
            path.join(" ")
        ));
        let place = left + 10.0 + 180.0 * number as f64;
        put(format!("<text x=\"{place}\" y=\"38\" fill=\"{colour}\">{}</text>", escaped(name)));
    }
    svg + "</svg>\n"
}

/// A round step, of which some five make `most`.
fn step(most: f64) -> f64 {
    let rough = most / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= rough);
    factor.unwrap_or(10.0) * power
}

fn end(most: f64, step: f64) -> f64 {
    (most / step).ceil() * step
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_some_five() {
        for (most, expected) in
            [(5.0, 1.0), (9.0, 2.0), (23.0, 5.0), (99.0, 20.0), (480.0, 100.0), (0.4, 0.1)]
        {
            assert!((step(most) - expected).abs() < 1e-9, "{most}: {}", step(most));
        }
    }

    #[test]
    fn each_set_is_a_line_with_its_name() {
        let lines = [("a<b".to_owned(), vec![(0.0, 1.0), (10.0, 5.0)]), ("c".to_owned(), Vec::new())];
        let svg = plot("memory", &lines);
        assert_eq!(svg.matches("<polyline").count(), 2, "{svg}");
        assert!(svg.contains("a&lt;b") && svg.contains("60.0 212.0 ") || svg.contains("60.0 216.0"), "{svg}");
        assert!(svg.ends_with("</svg>\n"));
    }
}
