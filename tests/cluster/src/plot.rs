//! Lines over time, as SVG without scripts.

use std::fmt::Write as _;

/// Room for the numbers: left, and at each other side.
const MARGINS: (f64, f64) = (70.0, 40.0);
const COLOURS: [&str; 12] = [
    "#1f77b4", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#7f7f7f", "#e08a00", "#17a2b8", "#e377c2",
    "#bcbd22", "#0b3c5d", "#7a1f1f",
];
/// The height of a row of names below the plot, the width of a colour before a name, and about that of a letter.
const ROW: f64 = 18.0;
const MARK: f64 = 30.0;
const LETTER: f64 = 6.5;

/// A name and its points.
#[derive(Debug, Clone)]
pub struct Line {
    /// What it is.
    pub name: String,
    /// Seconds, and values. Where a value is no number, the line has a gap.
    pub points: Vec<(f64, f64)>,
}

/// What values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Plain numbers.
    Number,
    /// Seconds.
    Seconds,
    /// So many a second.
    PerSecond,
    /// Bytes.
    Bytes,
}

impl Unit {
    /// By what values up to `most` are divided, and what is written behind them.
    fn scale(self, most: f64) -> (f64, &'static str) {
        match self {
            Self::Number => (1.0, ""),
            Self::Seconds if most < 1.0 => (1e-3, " ms"),
            Self::Seconds => (1.0, " s"),
            Self::PerSecond => (1.0, "/s"),
            Self::Bytes if most < 2e4 => (1.0, " B"),
            Self::Bytes if most < 2e7 => (1024.0, " KiB"),
            Self::Bytes => (f64::from(1 << 20), " MiB"),
        }
    }
}

/// A plot.
#[derive(Debug, Clone)]
pub struct Plot {
    /// Above it.
    pub title: String,
    /// Of all lines.
    pub unit: Unit,
    /// How wide it is, and how high without the names of the lines.
    pub size: (f64, f64),
    /// Where the axis of times ends at the earliest.
    pub until: f64,
    /// Its lines.
    pub lines: Vec<Line>,
}

impl Plot {
    /// How many lines have a point.
    pub fn lines_with_data(&self) -> usize {
        let has_data = |line: &&Line| line.points.iter().any(|point| point.1.is_finite());
        self.lines.iter().filter(has_data).count()
    }

    /// How high it is with the names of the lines below it.
    pub fn height(&self) -> f64 {
        let rows = self.places().last().map_or(0.0, |place| place.1 + 1.0);
        self.size.1 + rows * ROW
    }

    /// A line's name, cut where it is wider than the plot.
    fn name(&self, line: &Line) -> String {
        let room = ((self.size.0 - MARK) / LETTER) as usize;
        if line.name.chars().count() <= room {
            return line.name.clone();
        }
        line.name.chars().take(room.saturating_sub(1)).chain(['…']).collect()
    }

    /// Where each name is: its distance from the left, and its row.
    fn places(&self) -> Vec<(f64, f64)> {
        let (mut x, mut row) = (0.0, 0.0);
        let place = |line: &Line| {
            let width = MARK + LETTER * self.name(line).chars().count() as f64;
            if x > 0.0 && x + width > self.size.0 {
                (x, row) = (0.0, row + 1.0);
            }
            let place = (x + 10.0, row);
            x += width;
            place
        };
        self.lines.iter().map(place).collect()
    }

    /// As SVG; without any point it says that there is no data.
    pub fn svg(&self) -> String {
        let (width, height) = self.size;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {0}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"10\" y=\"20\" font-size=\"14\">{1}</text>\n",
            self.height(),
            escaped(&self.title)
        );
        let mut put = |text: String| {
            let _ = writeln!(svg, "{text}");
        };
        if self.lines_with_data() == 0 {
            put(format!(
                "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"#777\">no data</text>",
                width / 2.0,
                height / 2.0
            ));
        } else {
            self.axes(&mut put);
            self.curves(&mut put);
        }
        for (number, (line, (x, row))) in self.lines.iter().zip(self.places()).enumerate() {
            let (y, colour) = (height + row * ROW, colour(number));
            put(format!(
                "<path d=\"M{x} {}h14\" stroke=\"{colour}\" stroke-width=\"3\"/><text x=\"{}\" y=\"{y}\">{}</text>",
                y - 4.0,
                x + 18.0,
                escaped(&self.name(line))
            ));
        }
        svg + "</svg>\n"
    }

    /// The greatest time and the greatest value.
    fn most(&self) -> (f64, f64) {
        let points = self.lines.iter().flat_map(|line| &line.points).filter(|point| point.1.is_finite());
        points.fold((self.until.max(f64::MIN_POSITIVE), f64::MIN_POSITIVE), |most, point| {
            (most.0.max(point.0), most.1.max(point.1))
        })
    }

    /// Where a time and a value are, in the picture.
    fn place(&self) -> impl Fn(f64, f64) -> (f64, f64) + use<> {
        let ((width, height), (left, margin)) = (self.size, MARGINS);
        let (most_x, most_y) = self.most();
        let (x_end, y_end) = (end(most_x, step(most_x)), self.y_end(most_y).0);
        move |x, y| {
            (
                left + x / x_end * (width - left - margin),
                height - margin - y / y_end * (height - 2.0 * margin),
            )
        }
    }

    /// The end and the step of the axis of values, as they are before they are divided.
    fn y_end(&self, most: f64) -> (f64, f64) {
        let (divisor, _) = self.unit.scale(most);
        let step = step(most / divisor);
        (end(most / divisor, step) * divisor, step * divisor)
    }

    fn axes(&self, put: &mut impl FnMut(String)) {
        let ((width, height), (left, margin)) = (self.size, MARGINS);
        let ((most_x, most_y), place) = (self.most(), self.place());
        let (divisor, unit) = self.unit.scale(most_y);
        let (y_end, y_step) = self.y_end(most_y);
        for number in 0..=(y_end / y_step).round() as usize {
            let value = number as f64 * y_step;
            let (_, y) = place(0.0, value);
            put(format!("<path d=\"M{left} {y:.1}H{}\" stroke=\"#ddd\"/>", width - margin));
            put(format!(
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}{unit}</text>",
                left - 6.0,
                y + 4.0,
                shown(value / divisor)
            ));
        }
        let x_step = step(most_x);
        for number in 0..=(end(most_x, x_step) / x_step).round() as usize {
            let value = number as f64 * x_step;
            put(format!(
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{} s</text>",
                place(value, 0.0).0,
                height - margin + 18.0,
                shown(value)
            ));
        }
    }

    fn curves(&self, put: &mut impl FnMut(String)) {
        let place = self.place();
        for (number, line) in self.lines.iter().enumerate() {
            let colour = colour(number);
            for piece in line.points.split(|point| !point.1.is_finite()).filter(|piece| !piece.is_empty()) {
                let points: Vec<String> = piece
                    .iter()
                    .map(|point| place(point.0, point.1))
                    .map(|(x, y)| format!("{x:.1} {y:.1}"))
                    .collect();
                if let [point] = piece {
                    let (x, y) = place(point.0, point.1);
                    put(format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2\" fill=\"{colour}\"/>"));
                }
                put(format!(
                    "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
                    points.join(" ")
                ));
            }
        }
    }
}

fn colour(number: usize) -> &'static str {
    COLOURS.get(number % COLOURS.len()).unwrap_or(&"black")
}

/// A number of an axis, without the digits of a binary fraction.
fn shown(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
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

/// A text as it may stand in SVG and HTML.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(unit: Unit, lines: &[(&str, &[(f64, f64)])]) -> Plot {
        let line = |(name, points): &(&str, &[(f64, f64)])| Line {
            name: (*name).to_owned(),
            points: points.to_vec(),
        };
        Plot {
            title: "memory".to_owned(),
            unit,
            size: (720.0, 300.0),
            until: 0.0,
            lines: lines.iter().map(line).collect(),
        }
    }

    #[test]
    fn steps_are_round_and_some_five() {
        for (most, expected) in
            [(5.0, 1.0), (9.0, 2.0), (23.0, 5.0), (99.0, 20.0), (480.0, 100.0), (0.4, 0.1)]
        {
            assert!((step(most) - expected).abs() < 1e-9, "{most}: {}", step(most));
        }
    }

    #[test]
    fn each_line_is_drawn_and_named() {
        let plot = plot(Unit::Number, &[("a<b", &[(0.0, 1.0), (10.0, 5.0)]), ("c", &[])]);
        let svg = plot.svg();
        assert_eq!((svg.matches("<polyline").count(), plot.lines_with_data()), (1, 1), "{svg}");
        assert!(svg.contains("a&lt;b</text>") && svg.contains(">c</text>"), "{svg}");
        assert!(svg.contains("points=\"70.0 216.0 680.0 40.0\""), "{svg}");
        assert!(svg.ends_with("</svg>\n"));
    }

    #[test]
    fn a_line_has_a_gap_where_its_value_is_no_number() {
        let points = [(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 1.0)];
        let svg = plot(Unit::Number, &[("a", &points)]).svg();
        assert_eq!(svg.matches("<polyline").count(), 2, "{svg}");
        assert!(svg.contains("<circle") && !svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn a_plot_without_points_says_so() {
        let svg = plot(Unit::Number, &[("a", &[(0.0, f64::NAN)])]).svg();
        assert!(svg.contains(">no data</text>") && !svg.contains("polyline"), "{svg}");
    }

    #[test]
    fn axes_have_the_units_of_their_values() {
        for (unit, most, expected) in [
            (Unit::Number, 0.3, ">0.3<"),
            (Unit::Seconds, 0.3, ">300 ms<"),
            (Unit::Seconds, 3.0, ">3 s<"),
            (Unit::PerSecond, 30.0, ">30/s<"),
            (Unit::Bytes, 12e6, "0 KiB<"),
            (Unit::Bytes, 41_943_040.0, ">40 MiB<"),
        ] {
            let svg = plot(unit, &[("a", &[(0.0, 0.0), (10.0, most)])]).svg();
            assert!(svg.contains(expected), "{expected}: {svg}");
        }
    }

    #[test]
    fn the_axis_of_times_reaches_its_end_without_points() {
        let mut plot = plot(Unit::Number, &[("a", &[(0.0, 1.0), (10.0, 5.0)])]);
        plot.until = 40.0;
        assert!(plot.svg().contains(">40 s<"));
    }

    #[test]
    fn names_wider_than_the_plot_are_cut() {
        let long = "x".repeat(300);
        let svg = plot(Unit::Number, &[(&long, &[(0.0, 1.0)])]).svg();
        assert!(svg.contains("xx…</text>") && !svg.contains(&long), "{svg}");
    }

    #[test]
    fn names_that_need_more_room_get_more_rows() {
        let name = "a name of some thirty letters";
        let few = plot(Unit::Number, &[(name, &[]), (name, &[])]);
        let many = plot(Unit::Number, &[(name, &[]), (name, &[]), (name, &[]), (name, &[])]);
        assert!((many.height() - few.height() - ROW).abs() < 1e-9);
    }
}
