//! The plan, and what came of it, as text.

use std::fmt;

use translation::Plugin;

use crate::decide::ConversionError;

/// What would become of one in-tree volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedVolume {
    /// The PersistentVolume.
    pub volume: String,
    /// Its claim, as `namespace/name`; `None` if it has none.
    pub claim: Option<String>,
    /// The plugin of its source.
    pub plugin: Plugin,
    /// How the PersistentVolume and the claim would differ, one line a field; or why the volume cannot become a CSI volume.
    pub becomes: Result<(Vec<String>, Vec<String>), ConversionError>,
    /// What stands against it now.
    pub obstacles: Vec<String>,
}

impl PlannedVolume {
    /// Whether the volume could be converted now.
    pub fn is_ready(&self) -> bool {
        self.becomes.is_ok() && self.obstacles.is_empty()
    }

    /// Whether no command converts it.
    pub fn is_never(&self) -> bool {
        self.becomes.as_ref().is_err_and(|error| !error.is_for_now())
    }

    /// When it can be converted, if not at once.
    fn when(&self) -> &'static str {
        if self.is_never() { "never" } else { "not now" }
    }
}

impl fmt::Display for PlannedVolume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PersistentVolume {}", self.volume)?;
        if let Some(claim) = &self.claim {
            write!(f, ", claim {claim}")?;
        }
        writeln!(f, ": from {} to {}", self.plugin.name(), self.plugin.driver())?;
        for obstacle in &self.obstacles {
            writeln!(f, "  ! not now: {obstacle}")?;
        }
        match &self.becomes {
            Ok((volume, claim)) => {
                volume.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
                claim.iter().try_for_each(|line| writeln!(f, "  claim {line}"))
            }
            Err(error) => writeln!(f, "  ! {}: {error}", self.when()),
        }
    }
}

/// What would become of each in-tree volume of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The volumes, by name.
    pub entries: Vec<PlannedVolume>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries.iter().try_for_each(|entry| writeln!(f, "{entry}"))?;
        let ready = self.entries.iter().filter(|entry| entry.is_ready()).count();
        let never = self.entries.iter().filter(|entry| entry.is_never()).count();
        let all = self.entries.len();
        let later = all - ready - never;
        write!(
            f,
            "{all} in-tree volumes: {ready} ready, {later} not now, {never} never. Nothing was changed."
        )
    }
}

/// What came of a conversion, or of its undoing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// It was to be undone.
    pub undo: bool,
    /// The volumes that were replaced.
    pub done: usize,
    /// The volumes that were not begun with, and what stands against them.
    pub left: Vec<PlannedVolume>,
    /// Volumes that are as they were, or gone, and why.
    pub failed: Vec<(String, String)>,
    /// What is to be known of others.
    pub notes: Vec<(String, String)>,
    /// Volumes that are on their way, and why they do not go on.
    pub half_done: Vec<(String, String)>,
    /// It was stopped before its end.
    pub stopped: bool,
    /// What broke it off.
    pub broken_off: Option<String>,
    /// The command that goes on from here.
    pub command: String,
}

impl Outcome {
    /// Whether nothing is left that could be done later.
    pub fn is_complete(&self) -> bool {
        let later = self.left.iter().any(|entry| !entry.is_never());
        !later
            && self.failed.is_empty()
            && self.half_done.is_empty()
            && !self.stopped
            && self.broken_off.is_none()
    }

    /// Whether no volume was worked on.
    pub(crate) fn is_untouched(&self) -> bool {
        self.done == 0 && [&self.failed, &self.notes, &self.half_done].iter().all(|list| list.is_empty())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.left {
            for obstacle in &entry.obstacles {
                writeln!(f, "PersistentVolume {}: not now: {obstacle}", entry.volume)?;
            }
            if let Err(error) = &entry.becomes {
                writeln!(f, "PersistentVolume {}: {}: {error}", entry.volume, entry.when())?;
            }
        }
        for (volume, why) in self.failed.iter().chain(&self.notes) {
            writeln!(f, "PersistentVolume {volume}: {why}")?;
        }
        for (volume, why) in &self.half_done {
            writeln!(f, "PersistentVolume {volume}: half done: {why}")?;
        }
        let what = if self.undo { "in-tree again" } else { "converted" };
        write!(f, "{} volumes {what}, {} left as they are", self.done, self.left.len() + self.failed.len())?;
        if !self.half_done.is_empty() {
            write!(f, ", {} half done", self.half_done.len())?;
        }
        if self.stopped {
            write!(f, "; stopped before the end: the same command goes on from here")?;
        }
        if !self.half_done.is_empty() || self.broken_off.is_some() {
            write!(f, "\nTo finish it: {}", self.command)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use translation::TranslationError;

    #[test]
    fn the_last_line_counts_the_volumes() {
        let entry = |becomes, obstacles: &[&str]| PlannedVolume {
            volume: "pv".to_owned(),
            claim: None,
            plugin: Plugin::Cinder,
            becomes,
            obstacles: obstacles.iter().map(|text| (*text).to_owned()).collect(),
        };
        let fine = || Ok((vec!["- a: b".to_owned()], vec![]));
        let report = Report {
            entries: vec![
                entry(fine(), &[]),
                entry(fine(), &["it is being deleted"]),
                entry(Err(TranslationError::NotCsi.into()), &[]),
            ],
        };
        let text = report.to_string();
        assert!(
            text.ends_with("3 in-tree volumes: 1 ready, 1 not now, 1 never. Nothing was changed."),
            "{text}"
        );
        assert!(text.contains("  ! not now: it is being deleted\n  - a: b\n"), "{text}");
        assert!(Report::default().to_string().starts_with("0 in-tree volumes"));
    }

    #[test]
    fn an_outcome_is_complete_when_nothing_can_be_done_later() {
        let entry = |becomes, obstacles: &[&str]| PlannedVolume {
            volume: "pv".to_owned(),
            claim: None,
            plugin: Plugin::Cinder,
            becomes,
            obstacles: obstacles.iter().map(|text| (*text).to_owned()).collect(),
        };
        let never = Outcome {
            done: 3,
            left: vec![entry(Err(TranslationError::NotCsi.into()), &[])],
            ..Outcome::default()
        };
        assert!(never.is_complete());
        assert!(never.to_string().ends_with("\n3 volumes converted, 1 left as they are"), "{never}");
        let later = Outcome { left: vec![entry(Ok((vec![], vec![])), &["in use"])], ..Outcome::default() };
        assert!(!later.is_complete());
        assert!(later.to_string().starts_with("PersistentVolume pv: not now: in use\n"), "{later}");
        let failed = Outcome {
            failed: vec![("a".to_owned(), "it is gone".to_owned())],
            undo: true,
            ..Outcome::default()
        };
        assert!(!failed.is_complete());
        assert_eq!(
            failed.to_string(),
            "PersistentVolume a: it is gone\n0 volumes in-tree again, 1 left as they are"
        );
        let stopped = Outcome { stopped: true, ..Outcome::default() };
        assert!(
            !stopped.is_complete() && stopped.to_string().ends_with("the same command goes on from here")
        );
        let half = Outcome {
            done: 2,
            half_done: vec![("b".to_owned(), "cannot create it anew: no".to_owned())],
            command: "mooring migrate --undo-file=/f".to_owned(),
            ..Outcome::default()
        };
        assert!(!half.is_complete());
        assert_eq!(
            half.to_string(),
            "PersistentVolume b: half done: cannot create it anew: no\n\
             2 volumes converted, 0 left as they are, 1 half done\nTo finish it: mooring migrate --undo-file=/f"
        );
        let broken = Outcome { broken_off: Some("no answer".to_owned()), ..half };
        assert!(!Outcome { half_done: vec![], ..broken.clone() }.is_complete());
        assert!(broken.to_string().ends_with("To finish it: mooring migrate --undo-file=/f"));
    }
}
