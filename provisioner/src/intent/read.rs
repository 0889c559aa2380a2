//! Reads the Leases that hold the intents of an earlier leader.
//!
//! One list shows them all. With a provisioner on each node, or where the service account may not list Leases, they are read
//! one by one: a list has those of all nodes, and every node would read it. Then we do not know how many there are. What the API server refuses is asked for again later.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use csi::topology::Term;
use k8s_openapi::jiff::Timestamp;
use kubernetes::api;
use kubernetes::lease::Lease;
use kubernetes::object::version_of;
use tokio::time::{Instant, sleep, sleep_until};

use super::book::Adopted;
use super::entry::{from_text, is_key};
use super::log::Intents;
use super::origin::{Origin, origin_of, tell_of};
use super::place::Place;
use super::rest::Rest;
use super::terms;
use crate::claim::background::Sent;

/// Pause after a failed attempt to read the Leases.
const PAUSE: Duration = Duration::from_secs(1);
/// So many Leases in a row that are not there end the reading one by one. Of those that were being written when the process
/// died, all but the last may be missing; and somebody may have deleted some between others.
const GAP: usize = 16;

impl Intents {
    /// Reads the Leases of an earlier leader. Returns the requests that may have no final answer. Repeats until the API server
    /// has answered; what it refuses to show, [`Intents::run`] reads later.
    pub(crate) async fn load(&self) -> Vec<Sent> {
        self.read_on(true).await
    }

    /// Whether requests of an earlier leader may be written down that nobody has read. Where the API server has refused twice
    /// to show them, we go on without.
    pub(crate) fn may_have_more(&self) -> bool {
        matches!(self.state().rest, Rest::From(_, refused) if refused < 2)
    }

    /// Resolves when what could not be read is to be asked for again.
    pub(super) async fn rest_is_due(&self) {
        let at = {
            let state = self.state();
            match state.rest {
                Rest::From(..) => Some(state.read_at.unwrap_or_else(Instant::now)),
                Rest::Nothing => None,
            }
        };
        match at {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Reads what is not read yet, as far as the API server allows. `repeats`: until it has answered.
    pub(super) async fn read_on(&self, repeats: bool) -> Vec<Sent> {
        let mut found = Vec::new();
        loop {
            let rest = self.state().rest;
            let Rest::From(first, refused) = rest else { break };
            match self.read_rest(first, refused, &mut found).await {
                Ok(()) => self.state().rest = Rest::Nothing,
                Err(error) if self.gives_up(&error) => {
                    let mut state = self.state();
                    state.rest = state.rest.refused();
                    break;
                }
                Err(error) => {
                    base::error!(
                        api::text(&error),
                        "Cannot read the requests that an earlier process may have sent; will retry"
                    );
                    if !repeats {
                        self.state().read_at = Some(Instant::now() + PAUSE);
                        break;
                    }
                    sleep(PAUSE).await;
                }
            }
        }
        if !found.is_empty() {
            base::info!("Found requests that an earlier process may have sent"; "requests" => found.len());
        }
        found
    }

    async fn read_rest(&self, first: usize, refused: u32, found: &mut Vec<Sent>) -> Result<(), api::Error> {
        let Some(place) = &self.place else { return Ok(()) };
        let of_all = place.of_all();
        if of_all.is_none() {
            match self.objects.list::<Lease>(&place.namespace).await {
                Ok((mut leases, _)) => {
                    let mut others = Vec::new();
                    // The first one's uid may be on others.
                    leases.sort_by_key(|lease| {
                        lease.metadata.name.as_deref().and_then(|name| place.page(name))
                    });
                    for lease in leases {
                        let name = lease.metadata.name.as_deref().unwrap_or_default();
                        match place.page(name) {
                            Some(page) => found.extend(self.take(page, lease, false)),
                            None => others.push(lease),
                        }
                    }
                    others.retain(|lease| {
                        lease.metadata.name.as_deref().is_some_and(|name| place.is_of_node(name))
                    });
                    self.tell_of_other_mode(others);
                    return Ok(());
                }
                Err(error) if api::is(&error, 403) => {}
                Err(error) => return Err(error),
            }
        }
        let (mut page, mut missing) = (first, 0);
        while missing < GAP {
            match self.read(page).await? {
                Some(sent) => (missing, _) = (0, found.extend(sent)),
                None => missing += 1,
            }
            page += 1;
            self.state().rest = Rest::From(page, refused);
        }
        if let Some(of_all) = of_all {
            self.tell_of_other_mode(self.leases_of(&of_all).await);
        }
        Ok(())
    }

    /// The Leases of this place, as far as they can be read.
    async fn leases_of(&self, place: &Place) -> Vec<Lease> {
        let mut leases = Vec::new();
        while let Ok(Some(lease)) =
            self.objects.get::<Lease>(&place.namespace, &place.lease(leases.len())).await
        {
            leases.push(lease);
        }
        leases
    }

    /// Reads a Lease. Returns the requests in it that were not known; `None` if there is no such Lease.
    async fn read(&self, page: usize) -> Result<Option<Vec<Sent>>, api::Error> {
        Ok(self.get(page).await?.map(|lease| self.take(page, lease, false)))
    }

    /// Reads a Lease that was not as we know it, while nothing is written to it. It is believed even if its version is lower: etcd
    /// may have been restored from a backup.
    pub(super) async fn read_again(&self, page: usize) -> Result<Vec<Sent>, api::Error> {
        Ok(self.get(page).await?.map(|lease| self.take(page, lease, true)).unwrap_or_default())
    }

    async fn get(&self, page: usize) -> Result<Option<Lease>, api::Error> {
        let Some(place) = &self.place else { return Ok(None) };
        let lease = self.objects.get::<Lease>(&place.namespace, &place.lease(page)).await?;
        if lease.is_none() {
            self.state().forget(page);
        }
        Ok(lease)
    }

    /// The requests in this Lease that were not known. `is_latest`: nothing was written to it since it was read.
    fn take(&self, page: usize, lease: Lease, is_latest: bool) -> Vec<Sent> {
        let adopted = {
            let mut state = self.state();
            // It may be older than what we have written meanwhile.
            if !is_latest && state.version(page) > Some(version_of(&lease)) {
                return Vec::new();
            }
            state.set_known(page, &lease);
            let origin =
                origin_of(&lease, state.known(0).and_then(|first| first.uid.as_deref()), Timestamp::now());
            let name = lease.metadata.name.clone().unwrap_or_default();
            let texts = intents_of(lease);
            if origin != Origin::Here && !texts.is_empty() {
                tell_of(&name, texts.len(), origin);
                state.book.refuse(page, texts);
                return Vec::new();
            }
            state.book.adopt(page, texts)
        };
        let mut lists: BTreeMap<Arc<str>, Option<Arc<[Term]>>> = BTreeMap::new();
        let mut read = |Adopted { name, text, terms }: Adopted| {
            let terms = terms.and_then(|listed| {
                let read = || terms::from_text(&listed.text).inspect_err(|error| {
                    base::error!(error, "Cannot read a list of topology terms that an earlier process has written"; "page" => page, "list" => listed.name);
                });
                lists.entry(listed.name.clone()).or_insert_with(|| read().ok()).clone()
            });
            match from_text(&text, terms.as_ref(), &self.scope) {
                Ok(sent) => Some(sent),
                Err(error) => {
                    // Another version may be able to read it: it stays.
                    base::error!(error, "Cannot read the request that an earlier process may have sent"; "page" => page, "annotation" => name);
                    None
                }
            }
        };
        adopted.into_iter().filter_map(&mut read).collect()
    }
}

/// The annotations of a Lease that are ours.
pub(super) fn intents_of(lease: Lease) -> BTreeMap<String, String> {
    let annotations = lease.metadata.annotations.unwrap_or_default();
    annotations.into_iter().filter(|(name, _)| is_key(name)).collect()
}
