//! The status page: what runs, who leads, and what waits for what.
//!
//! [`Board`] is where the parts of a process say what they are. It is asked when the page is requested; until then it costs a few
//! pointers. The queues keep the last failure of each key only if the page is served ([`Board::serve`]).
//! The page shows names of objects and texts of errors, and no more than the log shows. Two plain functions write it: [`html`] and
//! [`json`].

mod asked;
pub mod html;
pub mod json;
mod view;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

pub use asked::Asked;
pub use view::{
    Item, Lane, Lease, MOST_ITEMS, MOST_NODES, Node, Operation, Process, Purpose, Stage, Status, Wanted,
};

type AskLane = dyn Fn(&Wanted<'_>) -> Lane + Send + Sync;
type AskFact = dyn Fn() -> String + Send + Sync;
type AskLease = dyn Fn() -> Lease + Send + Sync;

/// What a process says about itself. Clones share it.
#[derive(Clone, Default)]
pub struct Board(Arc<Inner>);

#[derive(Default)]
struct Inner {
    is_served: AtomicBool,
    parts: Mutex<Parts>,
}

#[derive(Default)]
struct Parts {
    process: Process,
    lanes: Vec<(Purpose, String, Arc<AskLane>)>,
    leases: Vec<Arc<AskLease>>,
    facts: Vec<(&'static str, Arc<AskFact>)>,
}

impl Board {
    /// The page is served: from now on, queues keep failures.
    pub fn serve(&self) {
        self.0.is_served.store(true, Ordering::Relaxed);
    }

    /// Whether the page is served.
    pub fn is_served(&self) -> bool {
        self.0.is_served.load(Ordering::Relaxed)
    }

    /// Says something about the process.
    pub fn describe(&self, change: impl FnOnce(&mut Process)) {
        change(&mut self.parts().process);
    }

    /// Adds something that is known about the process.
    pub fn add_fact(&self, name: &'static str, ask: impl Fn() -> String + Send + Sync + 'static) {
        self.parts().facts.push((name, Arc::new(ask)));
    }

    /// Adds a lane of a queue.
    pub(crate) fn add_lane(
        &self,
        purpose: Purpose,
        queue: &str,
        ask: impl Fn(&Wanted<'_>) -> Lane + Send + Sync + 'static,
    ) {
        self.parts().lanes.push((purpose, queue.to_owned(), Arc::new(ask)));
    }

    /// Adds a lease.
    pub fn add_lease(&self, ask: impl Fn() -> Lease + Send + Sync + 'static) {
        self.parts().leases.push(Arc::new(ask));
    }

    /// What is to be said now, about everything or about one object.
    pub fn gather(&self, only: Option<&str>) -> Status {
        // Asked without the lock: queues have locks of their own.
        let (mut process, lanes, leases, facts) = {
            let parts = self.parts();
            (parts.process.clone(), parts.lanes.clone(), parts.leases.clone(), parts.facts.clone())
        };
        process.facts = facts.iter().map(|(name, ask)| (*name, ask())).collect();
        let wanted = Wanted { items: MOST_ITEMS, nodes: MOST_NODES, only };
        let operations =
            lanes.into_iter().map(|(purpose, queue, ask)| Operation { purpose, queue, lane: ask(&wanted) });
        Status {
            now: Timestamp::now(),
            process,
            leases: leases.iter().map(|ask| ask()).collect(),
            operations: operations.collect(),
            only: only.map(str::to_owned),
        }
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.0.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
