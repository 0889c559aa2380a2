//! The end of a process whose command line cannot be used.

/// A process's end before it began: what to print where, and the exit code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exit {
    /// 0 for help and version, 1 for values that do not go together, 2 for a command line that
    /// cannot be read.
    pub code: i32,
    /// For standard output.
    pub stdout: String,
    /// For standard error.
    pub stderr: String,
}

impl Exit {
    /// Exit code 1 with one line on standard error: the values were readable but do not go
    /// together.
    pub fn refuse(line: impl std::fmt::Display) -> Self {
        Self { code: 1, stdout: String::new(), stderr: format!("{line}\n") }
    }

    /// Prints both texts and ends the process with [`Exit::code`].
    pub fn leave(self) -> ! {
        use std::io::Write as _;
        // Nobody is left to tell if printing fails.
        let _ = std::io::stdout().write_all(self.stdout.as_bytes());
        let _ = std::io::stderr().write_all(self.stderr.as_bytes());
        std::process::exit(self.code)
    }
}
