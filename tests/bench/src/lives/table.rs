//! The table of BENCHMARKS.md.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::figures::{PHASES, Run, Size};

/// Between these lines of BENCHMARKS.md stands what this command writes.
const MARKS: [&str; 2] = ["<!-- bench lives -->\n", "<!-- end of bench lives -->\n"];

/// The figures of all sets: the median of the runs, and the spread.
pub(super) fn markdown(size: Size, sets: &[(String, Vec<Run>)]) -> String {
    let names: Vec<&str> = sets.iter().map(|(name, _)| name.as_str()).collect();
    let mut table =
        format!("| {} volumes, {} run(s) | {} |\n|---|", size.volumes, size.runs, names.join(" | "));
    table.push_str(&"---|".repeat(names.len()));
    table.push('\n');
    let mut line = |what: &str, figure: &dyn Fn(&Run) -> f64, digits: usize| {
        let cell = |(_, runs): &(String, Vec<Run>)| spread(runs.iter().map(figure).collect(), digits);
        let cells: Vec<String> = sets.iter().map(cell).collect();
        let _ = writeln!(table, "| {what} | {} |", cells.join(" | "));
    };
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let volumes = size.volumes as f64;
    line("idle: resident, MiB", &|run| mib(run.idle.resident), 1);
    line("idle: anonymous, MiB", &|run| mib(run.idle.anonymous), 1);
    line("stand-by: resident, MiB", &|run| mib(run.standby.resident), 1);
    line("stand-by: anonymous, MiB", &|run| mib(run.standby.anonymous), 1);
    line("stand-by: kinds it watches", &|run| run.watched_by_standby.len() as f64, 0);
    line("peak resident, MiB", &|run| mib(run.end.peak), 1);
    line("at the end: resident, MiB", &|run| mib(run.end.resident), 1);
    line("threads", &|run| run.idle.threads as f64, 0);
    line("sockets", &|run| run.idle.sockets as f64, 0);
    line("CPU for all, s", &Run::cpu, 2);
    for (index, phase) in PHASES.iter().enumerate() {
        let figure = |run: &Run, of: &dyn Fn(&super::figures::PhaseFigures) -> f64| {
            run.phases.get(index).map_or(0.0, of)
        };
        let name = phase.name();
        line(&format!("{name}: a second"), &|run| figure(run, &|phase| volumes / phase.took), 0);
        line(&format!("{name}: p50, s"), &|run| figure(run, &|phase| phase.latency[0]), 2);
        line(&format!("{name}: p99, s"), &|run| figure(run, &|phase| phase.latency[1]), 2);
        line(
            &format!("{name}: CPU a volume, ms"),
            &|run| figure(run, &|phase| 1000.0 * phase.cpu / volumes),
            2,
        );
    }
    line("writes a volume, events aside", &|run| run.writes() as f64 / volumes, 3);
    line("of these failed", &|run| run.failed_writes() as f64 / volumes, 3);
    line("events a volume", &|run| run.events() as f64 / volumes, 2);
    for phase in PHASES {
        line(&format!("calls of {}", phase.call()), &|run| run.called(phase.call()) as f64, 0);
    }
    table
}

/// `median (least-most)`, or the one figure.
fn spread(mut figures: Vec<f64>, digits: usize) -> String {
    figures.sort_by(f64::total_cmp);
    let (Some(least), Some(most)) = (figures.first(), figures.last()) else { return "-".to_owned() };
    let median = figures.get(figures.len() / 2).unwrap_or(least);
    let [median, least, most] = [median, least, most].map(|figure| format!("{figure:.digits$}"));
    if least == most { median } else { format!("{median} ({least}-{most})") }
}

/// Puts the table into the file, in the place of the last one.
///
/// # Errors
/// There is no such place.
pub(super) fn put(path: &Path, table: &str) -> Result<()> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let new =
        replaced(&text, table).with_context(|| format!("{} has no line {}", path.display(), MARKS[0]))?;
    std::fs::write(path, new).with_context(|| path.display().to_string())
}

fn replaced(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(MARKS[0])?;
    let (_, after) = rest.split_once(MARKS[1])?;
    Some(format!("{before}{}\n{table}\n{}{after}", MARKS[0], MARKS[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_tells_the_median_and_the_ends() {
        assert_eq!(spread(vec![3.0, 1.0, 2.0], 1), "2.0 (1.0-3.0)");
        assert_eq!(spread(vec![2.0, 2.001], 2), "2.00");
        assert_eq!(spread(Vec::new(), 1), "-");
    }

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let text = format!("a\n{}old\n{}b\n", MARKS[0], MARKS[1]);
        let new = replaced(&text, "new").expect("marks");
        assert_eq!(new, format!("a\n{}\nnew\n{}b\n", MARKS[0], MARKS[1]));
        assert_eq!(replaced(&new, "new").as_deref(), Some(new.as_str()), "again");
        assert_eq!(replaced("a", "new"), None);
    }
}
