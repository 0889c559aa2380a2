//! Decides what a candidate or leader does next.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

pub use k8s_openapi::api::coordination::v1::Lease;

/// The three durations of an election. The check of the flags guarantees lease > renew > 1.2 × retry > 0.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How long a candidate waits after the last change it saw before it takes the lease over.
    pub lease: Duration,
    /// How long the leader tries to renew before it stops leading.
    pub renew: Duration,
    /// Pause between tries; candidates stretch it by a random factor of 1 to 2.2.
    pub retry: Duration,
}

/// What to do about the lease as it was read.
#[derive(Debug, PartialEq)]
pub enum Attempt {
    /// Nobody has it: create this object.
    Create(Box<Lease>),
    /// The lease is free, expired, or ours: PUT this object, with its resourceVersion.
    Update(Box<Lease>),
    /// Another holds the lease; we can take it over at this time at the earliest.
    Held {
        /// Who has it.
        by: String,
        /// When our observation of it runs out.
        until: Instant,
    },
}

/// One candidate's knowledge of one lease.
#[derive(Debug)]
pub struct Elector {
    name: String,
    identity: String,
    labels: Vec<(String, String)>,
    timing: Timing,
    seen: Option<Seen>,
}

#[derive(Debug)]
struct Seen {
    lease: Lease,
    /// When the record last changed, by our clock.
    changed: Instant,
}

impl Elector {
    /// Creates a candidate called `identity` for the lease `name`. A leader puts `labels` on the lease.
    pub fn new(name: &str, identity: &str, labels: Vec<(String, String)>, timing: Timing) -> Self {
        Self { name: name.to_owned(), identity: identity.to_owned(), labels, timing, seen: None }
    }

    /// Whether the record last seen names us.
    pub fn is_ours(&self) -> bool {
        self.holder() == Some(self.identity.as_str())
    }

    /// The holder last seen; `None` when there is none.
    pub fn holder(&self) -> Option<&str> {
        let spec = self.seen.as_ref()?.lease.spec.as_ref()?;
        spec.holder_identity.as_deref().filter(|holder| !holder.is_empty())
    }

    /// Observes a lease as the API server stores it. Only a changed record restarts its lease duration.
    pub fn observe(&mut self, lease: Lease, now: Instant) {
        let same = self.seen.as_ref().is_some_and(|seen| seen.lease.spec == lease.spec);
        let changed = match &self.seen {
            Some(seen) if same => seen.changed,
            Some(_) | None => now,
        };
        self.seen = Some(Seen { lease, changed });
    }

    /// Notes that the API server has no such lease.
    pub fn observe_absent(&mut self) {
        self.seen = None;
    }

    /// Decides the next attempt from what was observed. `wall` is written into the lease and never compared.
    pub fn attempt(&self, now: Instant, wall: MicroTime) -> Attempt {
        let Some(seen) = &self.seen else {
            let mut lease = Lease::default();
            lease.metadata.name = Some(self.name.clone());
            return Attempt::Create(Box::new(self.claimed(lease, wall)));
        };
        if !self.is_ours()
            && let Some(by) = self.holder()
        {
            let until = seen.changed + self.record_duration(seen);
            if until > now {
                return Attempt::Held { by: by.to_owned(), until };
            }
        }
        Attempt::Update(Box::new(self.claimed(seen.lease.clone(), wall)))
    }

    /// The object that releases the lease: no holder and a duration of one second, so that a rival can take
    /// it at once.
    pub fn release(&self, wall: MicroTime) -> Option<Box<Lease>> {
        if !self.is_ours() {
            return None;
        }
        let mut lease = self.seen.as_ref()?.lease.clone();
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(wall.clone());
        spec.acquire_time = Some(wall);
        Some(Box::new(lease))
    }

    fn claimed(&self, mut lease: Lease, wall: MicroTime) -> Lease {
        let ours = self.is_ours();
        let had_record = lease.spec.is_some();
        let old = lease.spec.take().unwrap_or_default();
        let transitions = old.lease_transitions.unwrap_or(0);
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(self.timing.lease.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: if ours { old.acquire_time } else { Some(wall.clone()) },
            renew_time: Some(wall),
            lease_transitions: Some(if ours || !had_record {
                transitions
            } else {
                transitions.saturating_add(1)
            }),
            ..old
        });
        for (key, value) in &self.labels {
            lease.metadata.labels.get_or_insert_default().insert(key.clone(), value.clone());
        }
        lease
    }

    fn record_duration(&self, seen: &Seen) -> Duration {
        let spec = seen.lease.spec.as_ref();
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }
}
