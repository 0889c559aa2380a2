//! What the provisioner remembers about claims between attempts.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::PersistentVolume;
use kubernetes::object::{Claim, Key, Uid};
use kubernetes::secret::SecretRef;
use tokio::time::Instant;

use super::background::{Background, Sent, Told};
use super::object::NewVolume;
use super::request::{Asked, fills_from};
use crate::node::NodeSettings;

/// How long a refused claim waits before it is retried, whatever the back-off flags say.
pub(crate) const INFEASIBLE_RETRY: Duration = Duration::from_secs(300);

/// Longest pause between two looks whether there is room for a claim on a node. As seldom as that upstream looks.
const ROOM_RETRY: Duration = Duration::from_secs(900);

/// The state kept between attempts, by claim uid. It ends with the process. That is safe: the volume's name
/// makes every step repeatable, and [`intent`](crate::intent) brings back what was sent for claims that are gone.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    background: HashMap<Uid, Background>,
    infeasible: HashMap<Uid, Infeasible>,
    unsaved: HashMap<Uid, Unsaved>,
    names: HashMap<String, Uid>,
    left: HashSet<Uid>,
    too_large: HashSet<Uid>,
    /// The log says that the account may not hold snapshots.
    told_unheld: bool,
    contests: HashMap<Uid, Contest>,
    uses: HashMap<Uid, Asked>,
    releasing: HashSet<Asked>,
    /// When this node may let go of a source that is another node's, perhaps.
    turns: HashMap<Asked, Instant>,
    /// Snapshots of our driver that may bear our finalizer, with the uid of each: another may get its name.
    pub(super) ours: HashMap<Key, Uid>,
}

/// A volume whose PersistentVolume is not created yet.
#[derive(Debug, Clone)]
pub(crate) struct Unsaved {
    /// The object.
    pub(crate) volume: Arc<NewVolume>,
    /// The object that is stored instead, for a class of an in-tree plugin.
    pub(crate) in_tree: Option<Arc<PersistentVolume>>,
    /// The claim it is for.
    pub(crate) claim: Arc<Claim>,
    /// The Secret that DeleteVolume needs.
    pub(crate) secret: Option<SecretRef>,
    /// When provisioning began.
    pub(crate) begun: Instant,
}

#[derive(Debug)]
struct Infeasible {
    class: Uid,
    until: Instant,
}

/// A claim that this node may make its own.
#[derive(Debug)]
struct Contest {
    /// How often somebody else was faster to change the claim.
    lost: u32,
    /// How often this node had no room for it.
    full: u32,
    /// Not before this.
    at: Instant,
}

impl Memory {
    /// An attempt for this claim begins, with this class.
    pub(crate) fn begin(&mut self, uid: &Uid, class: &Uid) {
        if let Some(background) = self.background.get_mut(uid) {
            background.begin(class);
        }
    }

    /// What is known of this failure for a claim that is gone; `None` if no request for it is under way.
    pub(crate) fn tell(&mut self, uid: &Uid, text: &str, now: Instant) -> Option<Told> {
        Some(self.background.get_mut(uid)?.tell(text, now))
    }

    /// The request of the last attempt for this claim cannot be sent now, and perhaps never again: until it is tried again it
    /// holds no source.
    pub(crate) fn give_up(&mut self, uid: &Uid) {
        if let Some(background) = self.background.get_mut(uid) {
            background.give_up();
        }
    }

    /// The request of the last attempt was not sent: it is tried again after the others of its claim.
    pub(crate) fn postpone(&mut self, uid: &Uid) {
        if let Some(background) = self.background.get_mut(uid) {
            background.postpone();
        }
    }

    /// Keeps a request until the driver gives a final answer to it.
    pub(crate) fn keep(&mut self, sent: Sent) {
        let background = self.background.entry(sent.claim.meta.uid.clone()).or_default();
        background.begin(&sent.class.meta.uid);
        background.keep(sent);
    }

    /// The driver has refused this request for good.
    pub(crate) fn settle(&mut self, sent: &Sent) {
        let uid = &sent.claim.meta.uid;
        if let Some(background) = self.background.get_mut(uid) {
            background.settle(&sent.class.meta.uid);
            if background.is_empty() {
                self.background.remove(uid);
            }
        }
    }

    /// The claim has a volume of this name: nothing that could make it is under way any more.
    pub(crate) fn settle_named(&mut self, uid: &Uid, name: &str) {
        if let Some(background) = self.background.get_mut(uid) {
            background.settle_named(name);
            if background.is_empty() {
                self.background.remove(uid);
            }
        }
    }

    /// The name of the volume that something may come of for this claim.
    pub(crate) fn name_of(&self, uid: &Uid) -> Option<String> {
        let unsaved = self.unsaved.get(uid).map(|unsaved| unsaved.volume.name());
        unsaved.or_else(|| self.background.get(uid)?.name()).map(str::to_owned)
    }

    /// Whether something may be under way for a claim.
    pub(crate) fn is_open(&self, uid: &Uid) -> bool {
        self.background.contains_key(uid)
    }

    /// What may be under way for a claim.
    pub(crate) fn background(&self, uid: &Uid) -> Option<Background> {
        self.background.get(uid).cloned()
    }

    /// An attempt begins that may fill the claim's volume from this. False: it has to wait, because our finalizer is just being
    /// taken off.
    pub(crate) fn begin_use(&mut self, uid: &Uid, source: &Asked) -> bool {
        let free = !self.releasing.contains(source);
        if free {
            self.uses.insert(uid.clone(), source.clone());
        }
        free
    }

    /// The attempt for this claim is over. Whether it has used a source.
    pub(crate) fn end_use(&mut self, uid: &Uid) -> bool {
        self.uses.remove(uid).is_some()
    }

    /// Whether an attempt to use the source is being made, or a request that names it is open: it may still be under way, or
    /// its volume has no object yet. If we die, the next process sends such a request again.
    pub(crate) fn is_used(&self, source: &Asked) -> bool {
        self.uses.values().any(|used| used == source)
            || self.background.values().any(|background| background.holds(|claim| fills_from(claim, source)))
            || self.unsaved.values().any(|unsaved| fills_from(&unsaved.claim, source))
    }

    /// Our finalizer is about to be taken off the source, and no attempt to use it may begin until [`Memory::end_release`].
    /// False: it is in use.
    pub(crate) fn begin_release(&mut self, source: &Asked) -> bool {
        !self.is_used(source) && self.releasing.insert(source.clone())
    }

    /// How long this node still leaves it to others to let go of the source. With the first call a random time begins, so that
    /// not all nodes ask at once.
    pub(crate) fn turn(&mut self, source: &Asked, node: &NodeSettings, now: Instant) -> Option<Duration> {
        let first = || now + node.base_delay.mul_f64(fastrand::f64());
        let at = *self.turns.entry(source.clone()).or_insert_with(first);
        let left = Some(at.saturating_duration_since(now)).filter(|left| !left.is_zero());
        if left.is_none() {
            self.end_turn(source);
        }
        left
    }

    /// There is nothing to let go of.
    pub(crate) fn end_turn(&mut self, source: &Asked) {
        self.turns.remove(source);
    }

    /// The finalizer is off, or was not to be had.
    pub(crate) fn end_release(&mut self, source: &Asked) {
        self.releasing.remove(source);
    }

    /// uids of the classes whose requests for this claim have no final answer. `None`: a volume was made and has no object
    /// yet.
    pub(crate) fn open(&self, uid: &Uid) -> Option<Vec<Uid>> {
        if self.unsaved.contains_key(uid) {
            return None;
        }
        Some(self.background.get(uid).map(Background::classes).unwrap_or_default())
    }

    /// The driver refuses this claim with this class: retry slowly from now on.
    pub(crate) fn refuse(&mut self, uid: &Uid, class: &Uid, now: Instant) {
        let until = now + INFEASIBLE_RETRY;
        self.infeasible.insert(uid.clone(), Infeasible { class: class.clone(), until });
    }

    /// How long a refused claim still has to wait. A re-created class ends the wait.
    pub(crate) fn rests(&mut self, uid: &Uid, class: &Uid, now: Instant) -> Option<Duration> {
        let refusal = self.infeasible.get(uid)?;
        let left = refusal.until.saturating_duration_since(now);
        if refusal.class != *class || left.is_zero() {
            self.infeasible.remove(uid);
            return None;
        }
        Some(left)
    }

    /// Keeps an object that could not be created yet.
    pub(crate) fn remember_unsaved(&mut self, unsaved: Unsaved) {
        self.unsaved.insert(unsaved.claim.meta.uid.clone(), unsaved);
    }

    /// The object that is still to be created for this claim.
    pub(crate) fn unsaved(&self, uid: &Uid) -> Option<Unsaved> {
        self.unsaved.get(uid).cloned()
    }

    /// The object is created, or the volume is no longer wanted: forget it.
    pub(crate) fn forget_unsaved(&mut self, uid: &Uid) {
        self.unsaved.remove(uid);
    }

    /// Reserves a volume name for a claim. False if another claim has it.
    pub(crate) fn reserve(&mut self, name: &str, uid: &Uid) -> bool {
        self.names.entry(name.to_owned()).or_insert_with(|| uid.clone()) == uid
    }

    /// Frees the claim's name unless something may still come of what was done for the claim.
    pub(crate) fn free(&mut self, uid: &Uid) {
        if !self.background.contains_key(uid) && !self.unsaved.contains_key(uid) {
            self.names.retain(|_, holder| holder != uid);
        }
    }

    /// The claim is left to a populator. Returns false if that was known already.
    pub(crate) fn note_populator(&mut self, uid: &Uid) -> bool {
        self.left.insert(uid.clone())
    }

    /// The claim's request is too large to be written down. Returns false if that was known already.
    pub(crate) fn note_too_large(&mut self, uid: &Uid) -> bool {
        self.too_large.insert(uid.clone())
    }

    /// The account may not hold snapshots. Returns false if that was known already.
    pub(super) fn note_unheld(&mut self) -> bool {
        !std::mem::replace(&mut self.told_unheld, true)
    }

    /// The claim is gone and no call runs for it: forget it.
    pub(crate) fn forget(&mut self, uid: &Uid) {
        self.too_large.remove(uid);
        self.infeasible.remove(uid);
        self.left.remove(uid);
        self.end_use(uid);
        self.end_contest(uid);
    }

    /// How long the node still has to wait before it may select itself. The wait begins with the first call.
    pub(crate) fn contest(&mut self, uid: &Uid, node: &NodeSettings, now: Instant) -> Option<Duration> {
        let first = || Contest { lost: 0, full: 0, at: now + node.delay(0, fastrand::f64()) };
        let contest = self.contests.entry(uid.clone()).or_insert_with(first);
        Some(contest.at.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// Somebody else changed the claim at the same time: the node waits longer.
    pub(crate) fn lose(&mut self, uid: &Uid, node: &NodeSettings, now: Instant) -> Duration {
        let (lost, full) = self.contests.get(uid).map_or((0, 0), |contest| (contest.lost, contest.full));
        let lost = lost + 1;
        let delay = node.delay(lost, fastrand::f64());
        self.contests.insert(uid.clone(), Contest { lost, full, at: now + delay });
        delay
    }

    /// There is no room for the claim on this node. Returns after how long to look again: twice as long each time.
    pub(crate) fn no_room(&mut self, uid: &Uid, first: Duration) -> Duration {
        let Some(contest) = self.contests.get_mut(uid) else { return first };
        let factor = 1_u32.checked_shl(contest.full).unwrap_or(u32::MAX);
        contest.full = contest.full.saturating_add(1);
        first.checked_mul(factor).map_or(ROOM_RETRY, |pause| pause.min(ROOM_RETRY))
    }

    /// The claim has an owner, or is gone.
    pub(crate) fn end_contest(&mut self, uid: &Uid) {
        self.contests.remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn refused_claim_rests_five_minutes_or_until_a_new_class() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let [claim, class, recreated] = ["claim", "class", "recreated"].map(Uid::from);
        assert_eq!(memory.rests(&claim, &class, now), None);
        memory.refuse(&claim, &class, now);
        assert_eq!(
            memory.rests(&claim, &class, now + Duration::from_secs(100)),
            Some(Duration::from_secs(200))
        );
        assert_eq!(memory.rests(&claim, &recreated, now + Duration::from_secs(100)), None);
        assert_eq!(memory.rests(&claim, &class, now + Duration::from_secs(100)), None, "it was lifted");
        memory.refuse(&claim, &class, now);
        assert_eq!(memory.rests(&claim, &class, now + INFEASIBLE_RETRY), None);
    }

    #[test]
    fn claim_is_left_once_until_it_is_forgotten() {
        let (mut memory, [claim, another]) = (Memory::default(), ["claim", "another"].map(Uid::from));
        assert_eq!([&claim, &claim, &another].map(|uid| memory.note_populator(uid)), [true, false, true]);
        memory.forget(&claim);
        memory.forget(&another);
        assert!(memory.left.is_empty());
        assert!(memory.note_populator(&claim));
    }

    #[test]
    fn source_that_is_let_go_of_is_not_used_until_that_is_done() {
        let (mut memory, [claim, another]) = (Memory::default(), ["claim", "another"].map(Uid::from));
        let snapshot = Asked::Snapshot(Key::new("ns", "s"));
        assert!(memory.begin_use(&claim, &snapshot) && !memory.begin_release(&snapshot));
        memory.end_use(&claim);
        assert!(memory.begin_release(&snapshot) && !memory.begin_use(&another, &snapshot));
        assert!(!memory.is_used(&snapshot));
        memory.end_release(&snapshot);
        assert!(memory.begin_use(&another, &snapshot) && memory.is_used(&snapshot));
        memory.forget(&another);
        assert!(!memory.is_used(&snapshot), "a claim that is gone uses nothing");
    }
}
