//! The registry of publications that no attachment records yet.
//!
//! ```text
//!             begin          the attachment goes            checked    confirmed
//! (nothing) ---------> Open ---------------------> Orphaned -> Waiting -> Withdrawing
//!                       |                              |           |           |
//!                       +-- recorded, refused, --------+-----------+-----------+--> (nothing)
//!                           detached, unpublished
//! ```
//!
//! A volume and a node have one publication at a time. A later attachment takes it over, because its own detach will
//! unpublish the volume. A PersistentVolume is held (not released) as long as it has a publication here.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::in_flight::InFlight;
use base::queue::{Place, WorkQueue};
use kubernetes::object::{Attachment, Key, Meta, Uid};
use kubernetes::secret::SecretRef;
use kubernetes::store::{Change, Store};

use crate::attachment::decide::awaits_detach;

/// A volume on a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Pair {
    /// The volume's id at the driver.
    pub(crate) handle: Box<str>,
    /// The node's id at the driver.
    pub(crate) node_id: Arc<str>,
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.handle, self.node_id)
    }
}

/// The calls under way, and who waits for its turn. A waiter is an attachment (`Some(key)`) or the
/// pair's withdrawal (`None`). A pair has at most one withdrawal.
pub(crate) type Calls = InFlight<Pair, Option<Key>>;

/// A volume that the driver may have published, and what unpublishing it needs.
#[derive(Debug)]
pub(crate) struct Publication {
    /// The attachment that it was published for.
    pub(crate) attachment: Meta,
    /// The volume and the node, as the driver calls them.
    pub(crate) pair: Pair,
    /// The PersistentVolume's name; `None` for an inline volume.
    pub(crate) volume: Option<Arc<str>>,
    /// The node's name.
    pub(crate) node: Arc<str>,
    /// Where the volume's secret is.
    pub(crate) secret: Option<SecretRef>,
    /// Whether the volume was translated from an in-tree plugin's.
    pub(crate) migrated: bool,
}

/// How far a publication has come; the module's doc shows the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its attachment may still record it.
    Open,
    /// Its attachment is gone, as far as the cache knows.
    Orphaned,
    /// As `Orphaned`, and checked at least once. It is checked again when an attachment to its node changes.
    Waiting,
    /// The API server has confirmed that its attachment is gone.
    Withdrawing,
}

/// A publication that was just recorded, and the one that it replaced, if any.
#[derive(Debug)]
pub(crate) struct Begun {
    pair: Pair,
    before: Option<Arc<Publication>>,
}

type Entries = HashMap<Pair, (Arc<Publication>, Stage)>;

#[derive(Default)]
struct State {
    entries: Entries,
    /// Volumes that are to be released when nothing holds them any more.
    wanted: HashSet<Box<str>>,
}

/// The registry. Orphaned publications go to the queue of withdrawals.
pub(crate) struct Publications {
    state: Mutex<State>,
    queue: WorkQueue<Pair>,
    released: Box<dyn Fn(&str) + Send + Sync>,
}

impl Publications {
    /// An empty registry. If [`Publications::holds`] returned true for a volume, `released` is called with its name when
    /// its last publication ends.
    pub(crate) fn new(queue: WorkQueue<Pair>, released: impl Fn(&str) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), queue, released: Box::new(released) })
    }

    /// From now on a publication is orphaned when its attachment leaves this cache, or no longer awaits a detach.
    pub(crate) fn follow(self: &Arc<Self>, attachments: &Store<Attachment>, finalizer: &str) {
        let (told, finalizer) = (self.clone(), Box::<str>::from(finalizer));
        attachments.subscribe(move |change| {
            let (old, new) = match change {
                // A new attachment orphans nothing.
                Change::Added(_) => return,
                Change::Updated { old, new } => (old, Some(new)),
                Change::Removed(old) | Change::Left(old) => (old, None),
            };
            let same = new.filter(|new| new.meta.uid == old.meta.uid);
            if same.is_none_or(|new| !awaits_detach(&new.meta, &finalizer)) {
                told.orphan(&old.meta.uid);
            }
            told.look_again(new.map_or(&old.node, |new| &new.node));
        });
    }

    /// Records a publication. To be called right before ControllerPublishVolume.
    pub(crate) fn begin(&self, publication: Publication) -> Begun {
        let pair = publication.pair.clone();
        let entry = (Arc::new(publication), Stage::Open);
        let before = self.change(|entries| entries.insert(pair.clone(), entry)).map(|(before, _)| before);
        Begun { pair, before }
    }

    /// Takes back a publication whose call was not sent or was refused. The one that it replaced is recorded again: the
    /// earlier call may have published the volume.
    pub(crate) fn undo(&self, begun: Begun) {
        let Begun { pair, before } = begun;
        self.change(|entries| {
            let Some((undone, stage)) = entries.remove(&pair) else { return };
            let Some(before) = before else { return };
            let same = before.attachment.uid == undone.attachment.uid;
            // The other attachment may have gone meanwhile.
            let stage = if same { stage } else { Stage::Orphaned };
            if stage != Stage::Open {
                self.queue.add(pair.clone(), place(&before));
            }
            entries.insert(pair, (before, stage));
        });
    }

    /// Forgets an attachment's publications. Call it when the status says attached, or after the detach.
    pub(crate) fn settle(&self, uid: &Uid) {
        self.change(|entries| entries.retain(|_, (known, _)| known.attachment.uid != *uid));
    }

    /// The publication is withdrawn, or another attachment covers it.
    pub(crate) fn remove(&self, pair: &Pair) {
        self.change(|entries| drop(entries.remove(pair)));
    }

    /// What is written down for a pair.
    pub(crate) fn get(&self, pair: &Pair) -> Option<(Arc<Publication>, Stage)> {
        self.state().entries.get(pair).cloned()
    }

    /// Sets the stage of a publication.
    pub(crate) fn set(&self, pair: &Pair, stage: Stage) {
        if let Some(entry) = self.state().entries.get_mut(pair) {
            entry.1 = stage;
        }
    }

    /// Whether a volume is held (has a publication). If so, `released` is called later, when it no longer is.
    pub(crate) fn holds(&self, volume: &str) -> bool {
        let mut state = self.state();
        let held = holds(&state.entries, volume);
        if held {
            state.wanted.insert(volume.into());
        }
        held
    }

    /// Queues the withdrawal of a publication.
    pub(crate) fn withdraw(&self, publication: &Publication) {
        self.queue.add(publication.pair.clone(), place(publication));
    }

    fn orphan(&self, uid: &Uid) {
        self.each(|publication, stage| {
            let orphaned = *stage == Stage::Open && publication.attachment.uid == *uid;
            if orphaned {
                *stage = Stage::Orphaned;
            }
            orphaned
        });
    }

    fn look_again(&self, node: &str) {
        self.each(|publication, stage| *stage == Stage::Waiting && *publication.node == *node);
    }

    /// Queues the withdrawal of each publication for which `pick` returns true.
    fn each(&self, mut pick: impl FnMut(&Publication, &mut Stage) -> bool) {
        for (publication, stage) in self.state().entries.values_mut() {
            if pick(publication, stage) {
                self.withdraw(publication);
            }
        }
    }

    /// Changes the entries, then releases the volumes that nothing holds any more.
    fn change<T>(&self, change: impl FnOnce(&mut Entries) -> T) -> T {
        let (result, free) = {
            let State { entries, wanted } = &mut *self.state();
            let result = change(entries);
            (result, wanted.extract_if(|volume| !holds(entries, volume)).collect::<Vec<_>>())
        };
        free.iter().for_each(|volume| (self.released)(volume));
        result
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn holds(entries: &Entries, volume: &str) -> bool {
    entries.values().any(|(publication, _)| publication.volume.as_deref() == Some(volume))
}

/// Its place in the queue: a group for each node, so that a hung node delays no other.
fn place(publication: &Publication) -> Place {
    Place { lane: 0, group: Some(publication.node.clone()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{config, publication};
    use Stage::*;

    fn registry() -> (Arc<Publications>, Arc<Mutex<Vec<String>>>) {
        let queue = WorkQueue::new(config().backoff, config().limits(), Vec::new());
        let freed: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = freed.clone();
        (Publications::new(queue, move |volume| log.lock().unwrap().push(volume.to_owned())), freed)
    }

    /// The publication of the fixture, for another attachment.
    fn of(uid: &str) -> Publication {
        let usual = publication();
        Publication { attachment: Meta { uid: uid.into(), ..usual.attachment }, ..usual }
    }

    fn stage(registry: &Publications) -> Option<(Uid, Stage)> {
        registry.get(&publication().pair).map(|(known, stage)| (known.attachment.uid.clone(), stage))
    }

    fn queued(registry: &Publications) -> usize {
        registry.queue.groups(0).iter().map(|(_, count, _)| count).sum()
    }

    #[test]
    fn publication_is_orphaned_with_its_own_attachment() {
        let (registry, _) = registry();
        registry.begin(of("one"));
        registry.orphan(&"other".into());
        assert_eq!((stage(&registry), queued(&registry)), (Some(("one".into(), Open)), 0));
        registry.orphan(&"one".into());
        assert_eq!((stage(&registry), queued(&registry)), (Some(("one".into(), Orphaned)), 1));
        registry.settle(&"other".into());
        assert!(stage(&registry).is_some());
        registry.settle(&"one".into());
        assert_eq!(stage(&registry), None);
    }

    #[test]
    fn refused_call_leaves_what_an_earlier_call_may_have_published() {
        let (registry, _) = registry();
        registry.undo(registry.begin(of("one")));
        assert_eq!(stage(&registry), None);
        registry.begin(of("one"));
        registry.undo(registry.begin(of("one")));
        assert_eq!((stage(&registry), queued(&registry)), (Some(("one".into(), Open)), 0));
        let again = registry.begin(of("one"));
        registry.orphan(&"one".into());
        registry.undo(again);
        assert_eq!((stage(&registry), queued(&registry)), (Some(("one".into(), Orphaned)), 1));
    }

    #[test]
    fn later_attachment_takes_over_unless_it_is_refused() {
        let (registry, _) = registry();
        registry.begin(of("one"));
        let other = registry.begin(of("two"));
        registry.orphan(&"one".into());
        assert_eq!((stage(&registry), queued(&registry)), (Some(("two".into(), Open)), 0));
        registry.undo(other);
        assert_eq!((stage(&registry), queued(&registry)), (Some(("one".into(), Orphaned)), 1));
    }

    #[test]
    fn only_what_waits_is_looked_at_when_its_node_changes() {
        let (registry, _) = registry();
        registry.begin(of("one"));
        for (stage, node, expected) in
            [(Open, "node1", 0), (Withdrawing, "node1", 0), (Waiting, "node2", 0), (Waiting, "node1", 1)]
        {
            registry.set(&publication().pair, stage);
            registry.look_again(node);
            assert_eq!(queued(&registry), expected, "{stage:?} {node}");
        }
    }

    #[test]
    fn volume_is_released_after_its_last_publication() {
        let (registry, freed) = registry();
        let elsewhere = Pair { handle: "handle1".into(), node_id: "node2-id".into() };
        registry.begin(of("one"));
        registry.begin(Publication { pair: elsewhere.clone(), ..of("two") });
        assert!(registry.holds("pv1") && !registry.holds("pv2"));
        registry.settle(&"one".into());
        assert!(registry.holds("pv1") && freed.lock().unwrap().is_empty());
        registry.remove(&elsewhere);
        assert!(!registry.holds("pv1"));
        assert_eq!(*freed.lock().unwrap(), ["pv1"]);
        registry.undo(registry.begin(of("one")));
        assert_eq!(freed.lock().unwrap().len(), 1, "nobody asked for it again");
        assert!(registry.state().entries.is_empty() && registry.state().wanted.is_empty());
    }
}
