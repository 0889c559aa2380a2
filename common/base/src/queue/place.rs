//! Where keys wait, and how many workers they may use there.

use std::sync::Arc;

/// Where a key waits: the lane of its operation and, in the lane, its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Index of the operation; lanes are served in turn.
    pub lane: usize,
    /// A group of keys that may fail together, such as those of one node. The groups of a lane are served in
    /// turn.
    pub group: Option<Arc<str>>,
}

impl Place {
    /// A place in `lane` without a group.
    pub fn lane(lane: usize) -> Self {
        Self { lane, group: None }
    }
}

/// How many workers one lane, or one group, may use at a time.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Number of lanes; at least 1.
    pub lanes: usize,
    /// Keys of one lane worked on at once.
    pub per_lane: usize,
    /// Keys of one group (in one lane) worked on at once. Keys without a group are not counted.
    pub per_group: usize,
}

impl Limits {
    /// One lane, no groups: a plain queue.
    pub fn plain() -> Self {
        Self { lanes: 1, per_lane: usize::MAX, per_group: usize::MAX }
    }
}
