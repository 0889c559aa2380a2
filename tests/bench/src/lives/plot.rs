//! Memory and CPU over time, as SVG.

use cluster::plot::{Line, Plot, Unit};

use super::figures::{Run, Sample};

const SIZE: (f64, f64) = (720.0, 300.0);

/// The files and what is in them: the first run of each set.
pub(super) fn plots(sets: &[(String, Vec<Run>)]) -> [(&'static str, String); 2] {
    let plot = |title: &str, figure: &dyn Fn(&Sample) -> f64| {
        let line = |(name, runs): &(String, Vec<Run>)| {
            let samples = runs.first().map_or(&[][..], |run| &run.samples);
            Line {
                name: name.clone(),
                points: samples.iter().map(|sample| (sample.at, figure(sample))).collect(),
            }
        };
        let lines = sets.iter().map(line).collect();
        Plot { title: title.to_owned(), unit: Unit::Number, size: SIZE, until: 0.0, lines }.svg()
    };
    let mebibytes = |sample: &Sample| sample.usage.resident as f64 / f64::from(1 << 20);
    [
        ("lives-memory.svg", plot("resident memory of all processes, MiB", &mebibytes)),
        ("lives-cpu.svg", plot("CPU of all processes since their start, s", &|sample| sample.usage.cpu)),
    ]
}
