//! What is known of the Leases, and who waits for which.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use kubernetes::lease::Lease;
use kubernetes::object::Uid;
use kubernetes::secret::SecretRef;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::book::{Book, Write};
use super::rest::Rest;
use super::terms::Last;

/// So long the first Lease of a node stays when it is empty: a Lease that is made anew costs two writes more.
const STAYS: Duration = Duration::from_secs(24 * 3600);
/// About so long no Lease is deleted after the API server has failed at that: twice as long each time.
const FAILED: Duration = Duration::from_secs(5);
const FAILED_LONG: Duration = Duration::from_secs(3600);

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
    /// Since when the Secret is missing that another node's request needs, as far as we have looked, by the claim's uid and the Secret.
    pub(super) missing: HashMap<(Uid, SecretRef), Instant>,
    /// Whether Leases may not be deleted here.
    pub(super) keeps: bool,
    /// Until then no Lease is deleted: the API server has failed at it.
    keeps_until: Option<Instant>,
    /// How often it has failed at it since it did not.
    failed: u32,
    /// Whether the first Lease goes too when all are empty, and when.
    pub(super) first: First,
    /// Whether it was logged that we may not look at nodes.
    pub(super) told_nodes: bool,
}

/// What becomes of the first Lease when all are empty.
#[derive(Default, Clone, Copy)]
pub(super) enum First {
    /// It stays, to be used again.
    #[default]
    Stays,
    /// There is one for each node that ever was: it goes, [`STAYS`] after it was written or read.
    Goes(Instant),
    /// The process stops: it goes now.
    GoesNow,
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
        match self.book.tail() {
            _ if self.keeps || self.keeps_until.is_some_and(|until| Instant::now() < until) => usize::MAX,
            0 if !self.first_goes() => 1,
            tail => tail,
        }
    }

    /// Others may bear the uid of the first Lease: all must have been read.
    fn first_goes(&self) -> bool {
        let is_time = match self.first {
            First::Stays => false,
            First::Goes(used) => used.elapsed() >= STAYS,
            First::GoesNow => true,
        };
        is_time && self.rest == Rest::Nothing
    }

    /// When the last Lease is to be deleted, if nothing happens until then.
    pub(super) fn deletes_at(&self) -> Option<Instant> {
        let last = *self.leases.keys().next_back()?;
        let at = match (last, self.first) {
            (0, First::Goes(used)) => used + STAYS,
            (0, First::Stays | First::GoesNow) => return None,
            _ => self.keeps_until?,
        };
        let at = self.keeps_until.map_or(at, |until| until.max(at));
        let is_empty = !self.keeps && self.book.tail() <= last;
        Some(at).filter(|at| is_empty && *at > Instant::now())
    }

    /// The next deletion may go well.
    pub(super) fn may_delete(&mut self) {
        (self.keeps_until, self.failed) = (None, 0);
    }

    /// A Lease could not be deleted. `refused`: none ever can.
    pub(super) fn not_deleted(&mut self, refused: bool) {
        if refused {
            self.keeps = true;
        } else {
            let pause = FAILED.saturating_mul(2_u32.saturating_pow(self.failed)).min(FAILED_LONG);
            self.failed = self.failed.saturating_add(1);
            self.keeps_until = Some(Instant::now() + pause.mul_f64(0.5 + fastrand::f64()));
        }
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
        if let First::Goes(used) = &mut self.first {
            *used = Instant::now();
        }
    }

    /// There is no Lease of this number.
    pub(super) fn forget(&mut self, page: usize) {
        self.leases.remove(&page);
    }
}
