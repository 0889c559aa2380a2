//! What a provisioner remembers of claims between attempts.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use kubernetes::object::{Claim, Class, Uid};
use tokio::time::Instant;

use super::object::NewVolume;

/// How long a refused request rests, whatever the back-off flags say.
pub const INFEASIBLE_RETRY: Duration = Duration::from_secs(300);

/// The state kept between passes, by claim uid. It is lost with the process: names make every step safe
/// to repeat.
#[derive(Debug, Default)]
pub struct Memory {
    background: HashMap<Uid, Background>,
    infeasible: HashMap<Uid, Infeasible>,
    unsaved: HashMap<Uid, Unsaved>,
    left: HashSet<Uid>,
}

/// A claim whose volume the driver may still be making. It is worked on until a final answer, with the
/// same request, even when the claim or its class is gone by then.
#[derive(Debug, Clone)]
pub struct Background {
    /// As it was when the call was made.
    pub claim: Arc<Claim>,
    /// As it was when the call was made.
    pub class: Arc<Class>,
}

/// A volume whose object is not stored yet.
#[derive(Debug, Clone)]
pub struct Unsaved {
    /// The object.
    pub volume: Arc<NewVolume>,
    /// The claim it is for.
    pub claim: Arc<Claim>,
    /// When provisioning began.
    pub begun: Instant,
}

#[derive(Debug)]
struct Infeasible {
    class: Uid,
    until: Instant,
}

impl Memory {
    /// The claim is worked on until a final answer.
    pub fn keep(&mut self, background: Background) {
        self.background.insert(background.claim.meta.uid.clone(), background);
    }

    /// The driver gave a final answer for this claim.
    pub fn settle(&mut self, uid: &Uid) {
        self.background.remove(uid);
    }

    /// The claim as it was when its call was made, if the driver may still be at it.
    pub fn background(&self, uid: &Uid) -> Option<Background> {
        self.background.get(uid).cloned()
    }

    /// The driver refuses this claim with this class: retries are slow from now on.
    pub fn refuse(&mut self, uid: &Uid, class: &Uid, now: Instant) {
        let until = now + INFEASIBLE_RETRY;
        self.infeasible.insert(uid.clone(), Infeasible { class: class.clone(), until });
    }

    /// How long a refused claim is to rest yet. A class re-created in between lifts the refusal.
    pub fn rests(&mut self, uid: &Uid, class: &Uid, now: Instant) -> Option<Duration> {
        let refusal = self.infeasible.get(uid)?;
        let left = refusal.until.saturating_duration_since(now);
        if refusal.class != *class || left.is_zero() {
            self.infeasible.remove(uid);
            return None;
        }
        Some(left)
    }

    /// The object could not be stored yet.
    pub fn remember_unsaved(&mut self, unsaved: Unsaved) {
        self.unsaved.insert(unsaved.claim.meta.uid.clone(), unsaved);
    }

    /// The object that is to be stored for this claim.
    pub fn unsaved(&self, uid: &Uid) -> Option<Unsaved> {
        self.unsaved.get(uid).cloned()
    }

    /// The object is stored.
    pub fn saved(&mut self, uid: &Uid) {
        self.unsaved.remove(uid);
    }

    /// The claim is left to somebody else. Returns whether that is news.
    pub fn leave(&mut self, uid: &Uid) -> bool {
        self.left.insert(uid.clone())
    }

    /// The claim is gone and nothing runs for it.
    pub fn forget(&mut self, uid: &Uid) {
        self.infeasible.remove(uid);
        self.left.remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn refused_claim_rests_five_minutes_or_until_its_class_is_another() {
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
        assert_eq!([&claim, &claim, &another].map(|uid| memory.leave(uid)), [true, false, true]);
        memory.forget(&claim);
        memory.forget(&another);
        assert!(memory.left.is_empty());
        assert!(memory.leave(&claim));
    }
}
