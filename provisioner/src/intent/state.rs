//! What is known of the Leases, and who waits for which.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kubernetes::lease::Lease;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::book::{Book, Write};
use super::rest::Rest;
use super::terms::Last;

pub(super) type Told = oneshot::Sender<Result<(), String>>;

#[derive(Default)]
pub(super) struct State {
    pub(super) book: Book,
    /// The list of topology terms of the last request.
    pub(super) last: Last,
    /// The Leases that there are, by number.
    leases: BTreeMap<usize, Known>,
    /// Who waits for the next write of which page.
    pub(super) waiting: Vec<(usize, Told)>,
    /// Until then nothing is written down or read: the API server has refused it.
    pub(super) off_until: Option<Instant>,
    /// Since when every write has failed, and how many, if the last one has.
    pub(super) failing: Option<(Instant, u32)>,
    /// What an earlier leader has written down and is not read yet.
    pub(super) rest: Rest,
    /// When the rest is asked for again.
    pub(super) read_at: Option<Instant>,
    /// Whether that was logged.
    pub(super) told: bool,
    /// Since when which other node has been without the driver, as far as we have looked, and the CSINode's version.
    pub(super) absent: HashMap<String, (String, Instant)>,
    /// Whether Leases may not be deleted here.
    pub(super) keeps: bool,
    /// Whether it was logged that we may not look at nodes.
    pub(super) told_nodes: bool,
}

/// A Lease, as we know it.
#[derive(Clone)]
pub(super) struct Known {
    /// Its resourceVersion.
    pub(super) version: String,
    pub(super) uid: Option<String>,
}

/// What to do with one Lease.
pub(super) enum Step {
    Write(Write),
    /// The Lease of this number, if it has this version.
    Delete(usize, String),
}

impl State {
    /// The Leases to write or delete when there is time.
    pub(super) fn due(&self) -> BTreeSet<usize> {
        self.book.due().chain(self.last()).collect()
    }

    /// From this number on Leases are empty, and are deleted.
    pub(super) fn tail(&self) -> usize {
        if self.keeps { usize::MAX } else { self.book.tail() }
    }

    /// The last Lease that there is, if it is to be deleted.
    pub(super) fn last(&self) -> Option<usize> {
        let last = self.leases.keys().next_back();
        last.copied().filter(|last| *last >= self.tail())
    }

    /// Whether there is such a Lease, as far as we know.
    pub(super) fn exists(&self, page: usize) -> bool {
        self.leases.contains_key(&page)
    }

    pub(super) fn step(&self, page: usize) -> Step {
        match self.leases.get(&page).filter(|_| page >= self.tail()) {
            Some(known) => Step::Delete(page, known.version.clone()),
            None => Step::Write(self.book.write(page)),
        }
    }

    /// The version of a Lease, as we know it.
    pub(super) fn version(&self, page: usize) -> Option<u64> {
        self.leases.get(&page)?.version.parse().ok()
    }

    /// A Lease, if there is one as far as we know.
    pub(super) fn known(&self, page: usize) -> Option<&Known> {
        self.leases.get(&page)
    }

    /// This is the Lease of this number.
    pub(super) fn set_known(&mut self, page: usize, lease: &Lease) {
        let metadata = &lease.metadata;
        let version = metadata.resource_version.clone().unwrap_or_default();
        self.leases.insert(page, Known { version, uid: metadata.uid.clone() });
    }

    /// There is no Lease of this number.
    pub(super) fn forget(&mut self, page: usize) {
        self.leases.remove(&page);
    }
}
