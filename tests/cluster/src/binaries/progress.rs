//! Tells a waiting person what is being built and how far it is.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Where progress goes.
#[derive(Debug, Clone, Copy)]
pub enum Progress {
    /// One line on standard error that ticks.
    Terminal,
    /// Plain lines on standard error: one at the start, one each half minute, one at the end (CI, files).
    Lines,
    /// Nothing.
    Silent,
    /// Nothing, and as [`Progress::auto`] once this is set.
    Once(&'static AtomicBool),
}

impl Progress {
    /// [`Progress::Terminal`] when standard error is one, else [`Progress::Lines`].
    pub fn auto() -> Progress {
        if std::io::stderr().is_terminal() { Progress::Terminal } else { Progress::Lines }
    }

    /// How often [`Progress::tick`] wants to be called.
    pub(crate) fn interval(self) -> Duration {
        match self {
            Progress::Terminal => Duration::from_millis(250),
            Progress::Lines | Progress::Silent => Duration::from_secs(30),
            Progress::Once(_) => Progress::auto().interval(),
        }
    }

    /// Where it goes at this moment.
    fn now(self) -> Progress {
        match self {
            Progress::Once(shown) if shown.load(Ordering::Relaxed) => Progress::auto(),
            Progress::Once(_) => Progress::Silent,
            fixed => fixed,
        }
    }

    /// A line that stays.
    pub(crate) fn note(self, text: &str) {
        match self.now() {
            Progress::Terminal => eprintln!("\r\x1b[2K{text}"),
            Progress::Lines => eprintln!("{text}"),
            Progress::Silent | Progress::Once(_) => {}
        }
    }

    /// A line that the next one replaces, on a terminal.
    pub(crate) fn tick(self, text: &str) {
        match self.now() {
            Progress::Terminal => {
                let mut out = std::io::stderr().lock();
                // Progress that cannot be shown must not stop the build.
                let _ = write!(out, "\r\x1b[2K{text}");
                let _ = out.flush();
            }
            Progress::Lines => eprintln!("{text}"),
            Progress::Silent | Progress::Once(_) => {}
        }
    }
}
