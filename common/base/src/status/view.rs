//! What the status page says, as data.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::noted::Failure;

/// Objects shown of each operation: those that have waited longest.
pub const MOST_ITEMS: usize = 20;
/// Nodes shown of each operation: those with the object that has waited longest.
pub const MOST_NODES: usize = 20;

/// Everything that the page says.
#[derive(Debug, Clone)]
pub struct Status {
    /// When it was gathered.
    pub now: Timestamp,
    /// The process.
    pub process: Process,
    /// The leases; none without leader election.
    pub leases: Vec<Lease>,
    /// The operations, in the order in which their queues were made.
    pub operations: Vec<Operation>,
    /// The one object that was asked for, if only one was.
    pub only: Option<String>,
}

/// What runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Process {
    /// The program, such as `csi-provisioner`.
    pub program: String,
    /// Its sidecars, where it runs several.
    pub sidecars: Vec<String>,
    /// The driver's name.
    pub driver: String,
    /// What the driver says it can.
    pub capabilities: Vec<String>,
    /// What else is known: a name and a text each.
    pub facts: Vec<(&'static str, String)>,
}

/// A lease, as this process sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lease {
    /// Namespace and name.
    pub name: String,
    /// This process's name in it.
    pub identity: String,
    /// Who holds it, as far as this process has seen.
    pub holder: Option<String>,
    /// Whether this process leads.
    pub leads: bool,
}

/// What a queue's lane is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purpose {
    /// The operation, such as `attach`.
    pub operation: &'static str,
    /// The kind of the objects.
    pub kind: &'static str,
}

/// One operation and the objects that wait for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// What it is.
    pub purpose: Purpose,
    /// The queue's name in `workqueue_*`.
    pub queue: String,
    /// What waits.
    pub lane: Lane,
}

/// The objects of one lane of a queue.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lane {
    /// How many wait for a free worker.
    pub ready: usize,
    /// How many are worked on.
    pub running: usize,
    /// How many wait for their next try.
    pub paused: usize,
    /// Nodes, the one with the oldest object first; at most [`MOST_NODES`].
    pub nodes: Vec<Node>,
    /// Objects, the oldest first; at most [`MOST_ITEMS`].
    pub items: Vec<Item>,
}

impl Lane {
    /// All objects, shown or not.
    pub fn len(&self) -> usize {
        self.ready + self.running + self.paused
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What waits for one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: Arc<str>,
    /// How many objects.
    pub items: usize,
    /// How long the oldest has been in the queue.
    pub oldest: Duration,
}

/// What becomes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It waits for a free worker.
    Ready,
    /// It waits for a free worker; its node uses all that one node may.
    NodeBusy,
    /// It is worked on.
    Running,
    /// It waits for its next try, which begins after this long.
    Paused(Duration),
}

/// An object that is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Namespace and name, or the name.
    pub object: String,
    /// The node that it is about.
    pub node: Option<Arc<str>>,
    /// What becomes of it.
    pub stage: Stage,
    /// How long it has been in the queue without being done.
    pub age: Duration,
    /// How often it has failed in a row.
    pub failures: u32,
    /// Its last failure, and how long ago that was.
    pub failure: Option<(Failure, Duration)>,
}

/// What is asked of a queue.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Most items to show.
    pub items: usize,
    /// Most nodes to show.
    pub nodes: usize,
    /// Show the items of this object only.
    pub only: Option<&'a str>,
}
