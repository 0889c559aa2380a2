//! Writes the Leases that hold the intents.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{Fuse, FusedFuture as _};
use futures::stream::{self, FuturesUnordered, StreamExt as _};
use kubernetes::api::{self, Objects};
use kubernetes::lease::Lease;
use kubernetes::object::{Scope, Uid};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

use super::book::{Put, Write};
use super::entry::to_text;
use super::origin::body;
use super::place::Place;
use super::rest::Rest;
use super::state::{First, State, Step, Told};
use crate::claim::background::Sent;
use crate::claim::error::ProvisionError;

/// How long settled intents may stay in their Lease when nothing else is written to it.
const LEISURE: Duration = Duration::from_secs(5);
/// Leases that are written at once.
const AT_ONCE: usize = 6;

/// What became of a request that is about to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// It is written down, unless that is off.
    Yes,
    /// It is larger than what can be written down.
    TooLarge,
}

/// What is being written.
#[derive(Default)]
struct Round {
    /// The Leases that are being written.
    busy: BTreeSet<usize>,
    /// Those that are to be cleaned.
    clean: BTreeSet<usize>,
}

/// The intents of this process. Claims put theirs in; [`Intents::run`] writes.
pub(crate) struct Intents {
    pub(super) place: Option<Place>,
    pub(super) objects: Objects,
    pub(super) scope: Arc<Scope>,
    state: Mutex<State>,
    /// Notified when somebody waits, or something was settled.
    changed: Notify,
}

impl Intents {
    /// No intents yet. Without a place, none are ever written down.
    pub(crate) fn new(place: Option<Place>, objects: Objects, scope: Arc<Scope>) -> Self {
        let rest = if place.is_some() { Rest::default() } else { Rest::Nothing };
        let is_of_node = place.as_ref().is_some_and(|place| place.shared.is_some());
        let first = if is_of_node { First::Goes(Instant::now()) } else { First::Stays };
        let mut state = State::default();
        (state.rest, state.first) = (rest, first);
        Self { place, objects, scope, state: state.into(), changed: Notify::new() }
    }

    /// Whether nothing is written down at present.
    fn is_off(&self) -> bool {
        self.place.is_none() || self.state().off_until.is_some_and(|until| Instant::now() < until)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down a request. Returns when that is stored.
    ///
    /// # Errors
    /// It is not stored: the request must not be sent.
    pub(crate) async fn record(&self, sent: &Sent) -> Result<Recorded, ProvisionError> {
        if self.is_off() {
            return Ok(Recorded::Yes);
        }
        let told = {
            let mut state = self.state();
            let text = to_text(sent, |terms| state.last.of(terms));
            let (text, listed) = text.map_err(|error| ProvisionError::Intent(error.to_string()))?;
            match state.book.put(&sent.claim.meta.uid, &sent.class.meta.uid, &text, listed.as_ref()) {
                Put::Stored => return Ok(Recorded::Yes),
                Put::TooLarge => return Ok(Recorded::TooLarge),
                Put::Wanted(page) => {
                    let (tell, told) = oneshot::channel();
                    state.waiting.push((page, tell));
                    told
                }
            }
        };
        self.changed.notify_one();
        let written = told.await.unwrap_or_else(|_| Err("the process is stopping".to_owned()));
        written.map_err(ProvisionError::Intent)?;
        Ok(Recorded::Yes)
    }

    /// Of the claim's requests, only those with a class of `open` have no final answer.
    pub(crate) fn retain(&self, claim: &Uid, open: &[Uid]) {
        if self.state().book.retain(claim, open) {
            self.changed.notify_one();
        }
    }

    /// Where this request is written down: namespace and name of the Lease, and the annotation.
    pub(crate) fn written_at(&self, claim: &Uid, class: &Uid) -> Option<(String, String)> {
        let place = self.place.as_ref()?;
        let (page, annotation) = self.state().book.find(claim, class)?;
        Some((format!("{}/{}", place.namespace, place.lease(page)), annotation))
    }

    /// Writes what has to be written, and reads what could not be read yet; never ends. `adopt` is given requests that an
    /// earlier leader or somebody else has written down. A Lease that is slow to be written holds up no other.
    pub(crate) async fn run(&self, adopt: impl Fn(Sent)) {
        let (mut round, mut writing) = (Round::default(), FuturesUnordered::new());
        let mut reading = pin!(Fuse::terminated());
        let mut clean_at: Option<Instant> = None;
        loop {
            for (share, step) in self.due(&mut round) {
                writing.push(self.perform(share, step, &adopt));
            }
            // Also after a clean-up that failed.
            let rests = |page| !round.busy.contains(&page) && !round.clean.contains(&page);
            let is_due = self.state().due().into_iter().any(rests);
            clean_at = is_due.then(|| clean_at.unwrap_or_else(|| Instant::now() + LEISURE));
            let deletes_at = self.state().deletes_at();
            let at_leisure = async {
                match clean_at.or(deletes_at) {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(page) = writing.next(), if !writing.is_empty() => drop(round.busy.remove(&page)),
                () = &mut reading, if !reading.is_terminated() => {}
                () = self.changed.notified() => {}
                () = at_leisure => {
                    clean_at = None;
                    round.clean.extend(self.state().due());
                }
                () = self.rest_is_due(), if reading.is_terminated() => {
                    let read = async { self.read_on(false).await.into_iter().for_each(&adopt) };
                    reading.set(read.fuse());
                }
            }
        }
    }

    /// Takes settled intents out of their Leases, for a process that stops.
    pub(crate) async fn clean(&self) {
        if self.is_off() {
            return;
        }
        let perform = async |step| {
            self.perform(Vec::new(), step, &|_| {}).await;
        };
        {
            let mut state = self.state();
            state.may_delete();
            if matches!(state.first, First::Goes(_)) {
                state.first = First::GoesNow;
            }
        }
        loop {
            let last = self.state().last();
            let Some(last) = last else { break };
            let step = self.state().step(last);
            perform(step).await;
            if self.state().last() == Some(last) {
                break;
            }
        }
        let steps: Vec<Step> = {
            let state = self.state();
            state.book.due().map(|page| Step::Write(state.book.write(page))).collect()
        };
        stream::iter(steps).for_each_concurrent(AT_ONCE, perform).await;
    }

    /// The Leases to begin to write or delete now, and who waits for each. Those for whom nothing need be written any more are told.
    fn due(&self, round: &mut Round) -> Vec<(Vec<Told>, Step)> {
        let off = self.is_off();
        let mut state = self.state();
        let mut shares: BTreeMap<usize, Vec<Told>> = BTreeMap::new();
        for (page, told) in std::mem::take(&mut state.waiting) {
            shares.entry(page).or_default().push(told);
        }
        if off {
            // The API server has refused it: nobody waits.
            round.clean.clear();
            tell(shares.into_values().flatten(), None);
            return Vec::new();
        }
        let is_wanted = |page: &usize| shares.contains_key(page) || round.clean.contains(page);
        let wanted: BTreeSet<usize> = state.due().into_iter().filter(is_wanted).collect();
        round.clean.retain(|page| wanted.contains(page));
        let room = AT_ONCE.saturating_sub(round.busy.len());
        let (tail, last) = (state.tail(), state.last());
        // The empty ones at the end are deleted from the last on: the others are written, or wait for their turn.
        let in_turn = |page: usize| page < tail || last == Some(page) || !state.exists(page);
        let is_free = |page: &&usize| !round.busy.contains(page) && in_turn(**page);
        let begun: Vec<usize> = wanted.iter().filter(is_free).copied().take(room).collect();
        round.busy.extend(&begun);
        round.clean.retain(|page| !begun.contains(page));
        let with_share = |page: usize| (shares.remove(&page).unwrap_or_default(), state.step(page));
        let begun = begun.into_iter().map(with_share).collect();
        for (page, waiting) in shares {
            if round.busy.contains(&page) || wanted.contains(&page) {
                state.waiting.extend(waiting.into_iter().map(|told| (page, told)));
            } else {
                tell(waiting, None);
            }
        }
        begun
    }

    /// Writes or deletes one Lease, and tells those who waited for it. Returns its number.
    async fn perform(&self, share: Vec<Told>, step: Step, adopt: &impl Fn(Sent)) -> usize {
        let (page, done) = match step {
            Step::Write(write) => (write.page, self.store(&write, adopt).await),
            Step::Delete(page, version) => (page, self.delete(page, &version, adopt).await),
        };
        let failed = done.err().filter(|error| !self.gives_up_writing(error));
        tell(share, failed.map(|error| api::text(&error)));
        page
    }

    /// Deletes a Lease that is empty, unless somebody has written to it. Where we may not, it stays.
    async fn delete(&self, page: usize, version: &str, adopt: &impl Fn(Sent)) -> Result<(), api::Error> {
        let Some(place) = &self.place else { return Ok(()) };
        match self.objects.delete_unchanged::<Lease>(&place.namespace, &place.lease(page), version).await {
            Ok(()) => {
                let mut state = self.state();
                state.may_delete();
                state.book.deleted(page);
                state.forget(page);
            }
            Err(error) if api::is(&error, 409) => {
                self.read_again(page).await?.into_iter().for_each(adopt);
            }
            Err(error) => self.not_deleted(&place.lease(page), &error),
        }
        Ok(())
    }

    /// Stores one Lease. If somebody else has written to it, reads it first.
    async fn store(&self, write: &Write, adopt: &impl Fn(Sent)) -> Result<(), api::Error> {
        let first = self.send(write).await;
        let conflict = first.as_ref().is_err_and(|error| api::is(error, 409));
        if !conflict {
            return first;
        }
        self.read_again(write.page).await?.into_iter().for_each(adopt);
        // Of the same page, what is to be written now.
        let again = {
            let book = &self.state().book;
            book.due().any(|page| page == write.page).then(|| book.write(write.page))
        };
        match again {
            Some(again) => self.send(&again).await,
            None => Ok(()),
        }
    }

    async fn send(&self, write: &Write) -> Result<(), api::Error> {
        let Some(place) = &self.place else { return Ok(()) };
        let name = place.lease(write.page);
        let (mut known, first) = {
            let state = self.state();
            (state.known(write.page).cloned(), state.known(0).and_then(|first| first.uid.clone()))
        };
        if known.is_none() && first.is_none() {
            // Empty: an intent is stored only beside a uid, and no uid is known before.
            let empty = body(place, &name, BTreeMap::new(), None, None);
            let made: Lease = self.objects.create(&place.namespace, &empty).await?;
            let mut state = self.state();
            state.set_known(write.page, &made);
            known = state.known(write.page).cloned();
        }
        let annotations: BTreeMap<&str, &str> =
            write.annotations.iter().map(|(name, text)| (name.as_str(), &**text)).collect();
        let body = |version, uid| body(place, &name, annotations, version, uid);
        let stored: Result<Lease, api::Error> = match &known {
            Some(known) => {
                let body = body(Some(&known.version), known.uid.as_deref());
                self.objects.replace(&place.namespace, &name, "", &body).await
            }
            None => self.objects.create(&place.namespace, &body(None, first.as_deref())).await,
        };
        match stored {
            Ok(lease) => {
                let mut state = self.state();
                state.book.written(write);
                state.set_known(write.page, &lease);
                state.failing = None;
                Ok(())
            }
            Err(error) => {
                if api::is_missing(&error, &name) {
                    // Somebody has deleted it: the next attempt makes it anew.
                    self.state().forget(write.page);
                }
                Err(error)
            }
        }
    }
}

/// Tells those who waited how it went.
fn tell(waiting: impl IntoIterator<Item = Told>, failed: Option<String>) {
    for told in waiting {
        // Whoever waited may be gone.
        let _ = told.send(failed.clone().map_or(Ok(()), Err));
    }
}
