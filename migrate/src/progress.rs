//! Tells a waiting person how far it is.

use std::io::{IsTerminal as _, Write as _};

/// Characters of the bar.
const WIDTH: usize = 30;

/// Where progress goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// One line on standard error that is written over.
    Bar,
    /// A line on standard error for each volume.
    Lines,
    Silent,
}

/// The progress of one command.
#[derive(Debug)]
pub struct Progress {
    style: Style,
    all: usize,
    done: usize,
}

impl Progress {
    /// A bar when standard error is a terminal, else plain lines.
    pub fn auto() -> Self {
        let style = if std::io::stderr().is_terminal() { Style::Bar } else { Style::Lines };
        Self { style, all: 0, done: 0 }
    }

    /// Nothing.
    pub fn silent() -> Self {
        Self { style: Style::Silent, all: 0, done: 0 }
    }

    /// So many volumes are to be worked on.
    pub(crate) fn begin(&mut self, all: usize) {
        (self.all, self.done) = (all, 0);
    }

    /// This volume is worked on.
    pub(crate) fn on(&self, volume: &str) {
        if self.style == Style::Bar {
            say(&format!("\r\x1b[2K{} {volume}", bar(self.done, self.all)));
        }
    }

    /// It is done with.
    pub(crate) fn done(&mut self, volume: &str, what: &str) {
        self.done += 1;
        match self.style {
            Style::Lines => say(&format!("{}/{} PersistentVolume {volume}: {what}\n", self.done, self.all)),
            Style::Bar => self.on(volume),
            Style::Silent => {}
        }
    }

    /// The end: what comes next begins at the beginning of a line.
    pub(crate) fn end(&self) {
        if self.style == Style::Bar && self.all > 0 {
            say(&format!("\r\x1b[2K{}\n", bar(self.done, self.all)));
        }
    }
}

fn say(text: &str) {
    // Who has closed standard error does not want to be told.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// `[#####     ] 5/10`
fn bar(done: usize, all: usize) -> String {
    let full = (WIDTH * done).checked_div(all).unwrap_or(WIDTH).min(WIDTH);
    format!("[{}{}] {done}/{all}", "#".repeat(full), " ".repeat(WIDTH - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_full_at_the_end() {
        for (done, all, full) in
            [(0, 1000, 0), (500, 1000, 15), (999, 1000, 29), (1000, 1000, 30), (0, 0, 30)]
        {
            let bar = bar(done, all);
            assert_eq!(bar.matches('#').count(), full, "{bar}");
            assert!(bar.len() >= WIDTH + 2 && bar.ends_with(&format!("{done}/{all}")), "{bar}");
        }
    }
}
