//! Requests that the provisioners of other nodes have written down, and may still send.

use std::time::Duration;

use kube::Resource as _;
use kubernetes::api;
use kubernetes::lease::Lease;
use kubernetes::object::{Claim, CsiNode, Object as _, WireClaim, WireCsiNode, WireSecret};
use tokio::time::Instant;

use super::entry::{Owner, owner_of};
use super::log::Intents;
use super::read::intents_of;

/// So long may a node be without the driver before its requests count as given up: its pod may be a new one, or the kubelet
/// may be restarting.
const ABSENT: Duration = Duration::from_secs(600);
/// The pause until the next look, at the least. A node that is there lets go of its sources itself.
const PAUSE: Duration = Duration::from_secs(300);
/// What each node adds to it: all of them may look, and each look lists the Leases of all.
const PAUSE_A_NODE: Duration = Duration::from_secs(1);

/// So long it is noted since when a Secret is missing.
const NOTED: Duration = Duration::from_secs(24 * 3600);

/// So many Leases are named in a log line.
const NAMED: usize = 5;

/// So long a Secret may be missing before its request counts as one that nobody will send, and holds its source no longer. Where the
/// Secret goes with its namespace, that is long enough for somebody who replaces it.
pub(crate) fn patience(goes_too: bool) -> Duration {
    Duration::from_secs(if goes_too { 60 } else { 600 })
}

impl Intents {
    /// Tells of the requests that csi-provisioner has written down in another mode. They are not sent again here: on a node the
    /// driver may know only its own volumes, and in the other mode csi-provisioner may still run.
    pub(super) fn tell_of_other_mode(&self, leases: Vec<Lease>) {
        let (mut names, mut requests) = (Vec::new(), 0);
        for lease in leases {
            let name = lease.metadata.name.clone().unwrap_or_default();
            // The Leases of a driver whose name is longer look alike.
            let texts = intents_of(lease);
            let owners = texts.values().filter_map(|text| owner_of(text, &self.scope).ok());
            let open = owners.filter(|owner| owner.claim.waits_for(&self.scope)).count();
            if open > 0 {
                names.push(name);
                requests += open;
            }
        }
        if requests == 0 {
            return;
        }
        let more = names.len().saturating_sub(NAMED);
        names.truncate(NAMED);
        base::warn!("Requests are written down that csi-provisioner has sent in its other mode (with --node-deployment, or without it). They are not sent again in this one: if their claims are gone, their volumes may be left at the driver. Run it in that mode until the Leases are empty, or delete the Leases";
            "requests" => requests, "leases" => names.join(", "), "more" => more);
    }

    /// Whether the provisioner of another node has written down a request for such a claim, which it may still send. If so, when
    /// to look again. Without the right to list Leases, we go on as if there were none.
    ///
    /// A node that is gone sends nothing, nor does one that has lost the driver for ten minutes. A request whose claim and
    /// Secret are gone is sent by nobody: at once if the Secret goes with the claim's namespace, else after ten minutes.
    pub(crate) async fn is_open_elsewhere(
        &self,
        is_such: impl Fn(&Claim) -> bool,
    ) -> Result<Option<Duration>, api::Error> {
        let Some(place) = self.place.as_ref().filter(|place| place.shared.is_some()) else {
            return Ok(None);
        };
        let leases = match self.objects.list::<Lease>(&place.namespace).await {
            Ok((leases, _)) => leases,
            Err(error) if api::is(&error, 403) => return Ok(None),
            Err(error) => return Err(error),
        };
        let nodes = u32::try_from(leases.len()).unwrap_or(u32::MAX);
        // What was noted of requests long ago says nothing now.
        self.state().missing.retain(|_, since| since.elapsed() < NOTED);
        for lease in leases {
            let name = lease.metadata.name.clone().unwrap_or_default();
            let Some((node, _)) = place.other_node(&name) else { continue };
            let texts = intents_of(lease);
            let owners = texts.values().filter_map(|text| owner_of(text, &self.scope).ok());
            let such: Vec<Owner> = owners.filter(|owner| is_such(&owner.claim)).collect();
            if such.is_empty() || self.is_lost(node).await? {
                continue;
            }
            for owner in such {
                if !self.is_in_vain(&owner).await? {
                    let pause = PAUSE.max(PAUSE_A_NODE.saturating_mul(nodes));
                    return Ok(Some(pause.mul_f64(0.5 + fastrand::f64())));
                }
            }
        }
        Ok(None)
    }

    /// Whether nothing will be sent on this node any more. Where we may not look, something may.
    async fn is_lost(&self, node: &str) -> Result<bool, api::Error> {
        let found = match self.objects.get::<WireCsiNode>("", node).await {
            Ok(found) => found,
            Err(error) if api::is(&error, 403) => {
                if !std::mem::replace(&mut self.state().told_nodes, true) {
                    base::warn!("A source that another node has used stays even if that node is gone: the service account may not get csinodes";
                        "needs" => "get on csinodes", "node" => node, "err" => api::text(&error));
                }
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let Some(found) = found else { return Ok(true) };
        let version = found.meta().resource_version.clone().unwrap_or_default();
        let has_driver = CsiNode::slim(found, &self.scope).is_some_and(|known| known.driver.is_some());
        let absent = &mut self.state().absent;
        if has_driver {
            absent.remove(node);
            return Ok(false);
        }
        // A version that differs: the driver may have been there between two looks.
        let now = Instant::now();
        let (known, since) = absent.entry(node.to_owned()).or_insert_with(|| (version.clone(), now));
        if *known != version {
            (*known, *since) = (version, now);
        }
        Ok(since.elapsed() >= ABSENT)
    }

    /// Whether the request waits for a Secret that is gone, for a claim that is gone.
    async fn is_in_vain(&self, owner: &Owner) -> Result<bool, api::Error> {
        let (Some(secret), claim) = (&owner.secret, &owner.claim.meta) else { return Ok(false) };
        if self.objects.same::<WireClaim>(claim).await?.is_some() {
            return Ok(false);
        }
        let (is_there, may_look) =
            match self.objects.exists::<WireSecret>(&secret.namespace, &secret.name).await {
                Ok(is_there) => (is_there, true),
                // The right went with the namespace. All nodes have one service account: the node would wait for ever too.
                Err(error) if api::is(&error, 403) => (false, false),
                Err(error) => return Err(error),
            };
        let missing = &mut self.state().missing;
        if is_there {
            missing.remove(&(claim.uid.clone(), secret.clone()));
            return Ok(false);
        }
        let since = *missing.entry((claim.uid.clone(), secret.clone())).or_insert_with(Instant::now);
        let goes_too = may_look && *secret.namespace == *claim.namespace();
        Ok(since.elapsed() >= patience(goes_too))
    }
}
