//! The plan as text.

use std::fmt;

use translation::{Plugin, TranslationError};

/// What would become of one in-tree volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The PersistentVolume.
    pub volume: String,
    /// Its claim, as `namespace/name`; `None` if it has none.
    pub claim: Option<String>,
    /// The plugin of its source.
    pub plugin: Plugin,
    /// How the PersistentVolume and the claim would differ, one line a field; or why the volume cannot become a CSI volume.
    pub becomes: Result<(Vec<String>, Vec<String>), TranslationError>,
    /// What stands against it now.
    pub obstacles: Vec<String>,
}

impl Entry {
    /// Whether the volume could be converted now.
    pub fn is_ready(&self) -> bool {
        self.becomes.is_ok() && self.obstacles.is_empty()
    }
}

impl fmt::Display for Entry {
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
            Err(error) => writeln!(f, "  ! never: {error}"),
        }
    }
}

/// What would become of each in-tree volume of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The volumes, by name.
    pub entries: Vec<Entry>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries.iter().try_for_each(|entry| writeln!(f, "{entry}"))?;
        let ready = self.entries.iter().filter(|entry| entry.is_ready()).count();
        let never = self.entries.iter().filter(|entry| entry.becomes.is_err()).count();
        let all = self.entries.len();
        let later = all - ready - never;
        write!(
            f,
            "{all} in-tree volumes: {ready} ready, {later} not now, {never} never. Nothing was changed."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts_the_volumes() {
        let entry = |becomes, obstacles: &[&str]| Entry {
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
                entry(Err(TranslationError::NotCsi), &[]),
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
}
