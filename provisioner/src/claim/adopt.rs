//! Requests that outlive the process: those of an earlier one are taken over, and settled ones are let go.

use std::sync::Arc;

use base::queue::Place;
use kubernetes::object::Uid;

use super::background::Sent;
use super::name::is_name_for;
use super::queue::ClaimId;
use super::reconcile::Claims;
use crate::intent::log::Intents;

impl Claims {
    /// We begin to lead: from now on nobody else sends requests.
    pub(crate) fn begin_to_lead(&self) {
        self.inherited.begin();
    }

    /// The requests that are written down.
    pub(crate) fn intents(&self) -> Arc<Intents> {
        self.intents.clone()
    }

    /// Polls for what claims wait for, and wakes those that are to be woken later. Never ends.
    pub(crate) async fn poll(&self) {
        futures::join!(self.uncached.poll(), async {
            loop {
                for id in self.unplaced.take_late().await {
                    self.queue.add(id, Place::lane(0));
                }
            }
        });
    }

    /// A request that an earlier process may have sent: it is sent again until there is a final answer, unless the volume
    /// has its object ([`Claims::has_volume`]). One that an earlier process has sent with other flags keeps its name. A request
    /// that does not bear its
    /// claim's name is not ours.
    pub(crate) fn adopt(&self, sent: Sent) {
        let own = is_name_for(&sent.prepared.name, &sent.claim.meta.uid.to_string());
        if !own || sent.prepared.request.name != sent.prepared.name {
            base::warn!("Ignoring a request that was written down under another name than its claim's";
                "claim" => sent.claim.meta.key, "name" => sent.prepared.name);
            return;
        }
        let id = ClaimId::of(&sent.claim);
        self.memory().keep(sent);
        self.queue.add(id, Place::lane(0));
    }

    /// Lets go of the intents whose requests have a final answer.
    pub(super) fn settle_intents(&self, uid: &Uid) {
        let open = self.memory().open(uid);
        if let Some(open) = open {
            self.intents.retain(uid, &open);
        }
    }
}
