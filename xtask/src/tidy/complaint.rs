//! What a rule says.

/// What is against a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// The file that it is about.
    pub(super) file: String,
    /// The line, from 1; 0 for the file as a whole.
    pub(super) line: usize,
    /// What is wrong, and the remedy.
    pub(super) text: String,
}

impl Complaint {
    /// About a whole file.
    pub(super) fn of(file: &str, text: String) -> Complaint {
        Complaint::at(file, 0, text)
    }

    /// About one line.
    pub(super) fn at(file: &str, line: usize, text: String) -> Complaint {
        Complaint { file: file.to_owned(), line, text }
    }
}

impl std::fmt::Display for Complaint {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => write!(out, "{} {}", self.file, self.text),
            line => write!(out, "{}:{line} {}", self.file, self.text),
        }
    }
}
