//! What the driver must have, as its callers know it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use conformance::Dice;
use csi::grpc_text;
use tonic::Status;

/// A volume that was acknowledged.
#[derive(Debug, Clone)]
pub(super) struct Volume {
    pub(super) id: String,
    pub(super) block: bool,
    pub(super) size: i64,
    /// What its first bytes (or its file) hold.
    pub(super) content: Vec<u8>,
    pub(super) target: Option<PathBuf>,
    /// Where it is staged, if it is.
    pub(super) stage: Option<PathBuf>,
    /// Whether it is published read-only.
    pub(super) readonly: bool,
}

/// A snapshot that was acknowledged, and the content it was cut from.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) id: String,
    pub(super) block: bool,
    pub(super) size: i64,
    pub(super) content: Vec<u8>,
    /// The group that it is a member of.
    pub(super) group: Option<String>,
}

/// An inline volume that is published.
#[derive(Debug, Clone)]
pub(super) struct Inline {
    pub(super) target: PathBuf,
    pub(super) content: Vec<u8>,
}

/// What one worker owns, by name. Names are never used twice.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) volumes: BTreeMap<String, Volume>,
    pub(super) snapshots: BTreeMap<String, Snapshot>,
    /// Ids of group snapshots.
    pub(super) groups: BTreeMap<String, String>,
    /// By volume id, which is the caller's.
    pub(super) inlines: BTreeMap<String, Inline>,
    /// What was under way when the driver died: it may have happened or not.
    pub(super) open: Option<Step>,
    next: usize,
}

/// Where the test is, for messages: which seed repeats it, and after how many kills.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    pub(super) seed: u64,
    pub(super) round: usize,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MOORING_SEED={} round {}", self.seed, self.round)
    }
}

impl At {
    /// The answer to a call that nothing disturbs.
    pub(super) fn answer<T>(self, outcome: Result<T, Status>) -> T {
        outcome.unwrap_or_else(|status| panic!("{self}: {}", grpc_text(&status)))
    }
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Create { name: String, block: bool, from: Option<String>, restore: Option<String> },
    Delete { name: String },
    Publish { name: String, readonly: bool, stage: bool },
    Unpublish { name: String },
    Expand { name: String },
    Snapshot { name: String, of: String },
    DeleteSnapshot { name: String },
    Group { name: String, of: [String; 2] },
    DeleteGroup { name: String },
    PublishInline { id: String },
    UnpublishInline { id: String },
}

/// Where a volume or an inline volume is published.
pub(super) fn target(targets: &Path, name: &str) -> PathBuf {
    targets.join(name)
}

impl Model {
    fn new_name(&mut self, kind: &str, worker: usize) -> String {
        self.next += 1;
        format!("{kind}-{worker}-{}", self.next)
    }

    /// A step that is possible now; none if the dice fell on another.
    pub(super) fn choose(&mut self, dice: &mut Dice, worker: usize) -> Option<Step> {
        let names: Vec<String> = self.volumes.keys().cloned().collect();
        let volume = dice.pick(&names).cloned();
        let free: Vec<String> = self
            .snapshots
            .iter()
            .filter(|(_, it)| it.group.is_none())
            .map(|(name, _)| name.clone())
            .collect();
        let snapshot = dice.pick(&self.snapshots.keys().cloned().collect::<Vec<_>>()).cloned();
        let group = dice.pick(&self.groups.keys().cloned().collect::<Vec<_>>()).cloned();
        let inline = dice.pick(&self.inlines.keys().cloned().collect::<Vec<_>>()).cloned();
        let is_published =
            |name: &String| self.volumes.get(name).is_some_and(|volume| volume.target.is_some());
        let step = match dice.below(14) {
            0..=2 if names.len() < 6 => self.choose_create(dice, worker, volume, snapshot)?,
            3 => Step::Delete { name: volume.filter(|name| !is_published(name))? },
            4 | 5 => {
                let name = volume.filter(|name| !is_published(name))?;
                let stage = dice.below(2) == 0 || self.volumes.get(&name)?.stage.is_some();
                Step::Publish { name, readonly: dice.below(3) == 0, stage }
            }
            6 => Step::Unpublish { name: volume.filter(is_published)? },
            7 => Step::Expand { name: volume? },
            8 if free.len() < 4 => Step::Snapshot { name: self.new_name("snapshot", worker), of: volume? },
            9 => Step::DeleteSnapshot { name: dice.pick(&free).cloned()? },
            10 if self.groups.len() < 2 => {
                let other = dice.pick(&names).filter(|other| Some(*other) != volume.as_ref()).cloned()?;
                Step::Group { name: self.new_name("group", worker), of: [volume?, other] }
            }
            11 => Step::DeleteGroup { name: group? },
            12 if self.inlines.len() < 2 => {
                let number = self.new_name("", worker).replace('-', "a");
                // As the kubelet makes ids.
                Step::PublishInline { id: format!("csi-{number:0>64}") }
            }
            13 => Step::UnpublishInline { id: inline? },
            _ => return None,
        };
        Some(step)
    }

    fn choose_create(
        &mut self,
        dice: &mut Dice,
        worker: usize,
        volume: Option<String>,
        snapshot: Option<String>,
    ) -> Option<Step> {
        let origin = dice.below(3);
        let from = volume.filter(|_| origin == 1);
        let restore = snapshot.filter(|_| origin == 2);
        let block = match (&from, &restore) {
            (Some(name), _) => self.volumes.get(name)?.block,
            (None, Some(name)) => self.snapshots.get(name)?.block,
            (None, None) => dice.below(2) == 0,
        };
        Some(Step::Create { name: self.new_name("volume", worker), block, from, restore })
    }
}
