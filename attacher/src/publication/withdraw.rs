//! Unpublishes one volume from one node, after its attachment has gone.

use std::sync::Arc;
use std::time::Duration;

use base::queue::{Job, Outcome};
use kube::Resource;
use kubernetes::api;
use kubernetes::object::WireAttachment;
use kubernetes::secret::read;
use process::Seat;

use super::decide::{Rival, Step, decide};
use super::registry::{Calls, Pair, Publication, Publications, Stage};
use crate::attachment::error::DetachError;
use crate::attachment::request;
use crate::caches::Caches;
use crate::config::{Config, TURN};

/// Pause before a withdrawal that has to wait is checked again. A change of an attachment to its node ends the pause.
const CHECK: Duration = Duration::from_secs(30);

/// Unpublishes what was published for attachments that are gone.
pub(crate) struct Withdrawals {
    pub(crate) config: Arc<Config>,
    pub(crate) seat: Seat,
    pub(crate) caches: Caches,
    pub(crate) calls: Arc<Calls>,
    pub(crate) publications: Arc<Publications>,
}

impl Withdrawals {
    async fn pass(&self, pair: &Pair) -> Outcome {
        let Some((known, _)) = self.publications.get(pair) else { return Outcome::Done };
        let publications = self.publications.clone();
        let Some(_turn) = self.calls.take_turn(pair, None, move || publications.withdraw(&known)) else {
            // Another call for the pair is in flight. When it ends, this withdrawal is queued again.
            return Outcome::After(TURN);
        };
        // We hold the turn. A new attachment can publish only after we release it.
        let (publication, stage) = match self.publications.get(pair) {
            None | Some((_, Stage::Open)) => return Outcome::Done,
            Some(orphan) => orphan,
        };
        self.publications.set(pair, Stage::Waiting);
        match decide(&publication, self.rivals(), &self.config.finalizer) {
            Step::Keep => return Outcome::Done,
            Step::Wait => return Outcome::After(CHECK),
            Step::Covered => {
                self.publications.remove(pair);
                return Outcome::Done;
            }
            Step::Withdraw => {}
        }
        if stage != Stage::Withdrawing {
            match self.is_gone(&publication).await {
                Ok(true) => {}
                // The API server still has the attachment, although the cache does not. Check again later.
                Ok(false) => return Outcome::After(CHECK),
                Err(error) => {
                    base::error!(api::text(&error), "Cannot read an attachment that may be gone; will retry";
                        "attachment" => publication.attachment.key);
                    return Outcome::Retry;
                }
            }
            base::warn!("Attachment removed while its volume was being published; will unpublish the volume";
                "attachment" => publication.attachment.key, "volume" => pair.handle, "node" => publication.node);
        }
        self.publications.set(pair, Stage::Withdrawing);
        if let Err(error) = self.unpublish(&publication).await {
            base::error!(error, "Failed to unpublish a volume whose attachment is gone";
                "volume" => pair.handle, "node" => publication.node);
            return error.outcome();
        }
        base::info!("Unpublished a volume whose attachment is gone";
            "volume" => pair.handle, "node" => publication.node);
        self.publications.remove(pair);
        Outcome::Done
    }

    /// Asks the API server whether the attachment is gone, or is being deleted without our finalizer.
    async fn is_gone(&self, publication: &Publication) -> Result<bool, api::Error> {
        let found = self.caches.attachments.read::<WireAttachment>(&publication.attachment).await?;
        Ok(found.is_none_or(|wire| {
            let meta = wire.meta();
            let ours = |name: &String| **name == *self.config.finalizer;
            let bound = meta.finalizers.as_ref().is_some_and(|names| names.iter().any(ours));
            meta.deletion_timestamp.is_some() && !bound
        }))
    }

    async fn unpublish(&self, publication: &Publication) -> Result<(), DetachError> {
        let Publication { pair, secret, migrated, .. } = publication;
        let mut request = request::unpublish(&pair.handle, &pair.node_id);
        if let Some(place) = secret {
            let failed = |cause| DetachError::Secret { name: place.to_string(), cause };
            request.secrets = read(&self.seat.objects, place).await.map_err(failed)?.to_request();
        }
        let (driver, timeout) = (&self.seat.driver, self.config.timeout);
        driver.call_migrated(request, timeout, *migrated).await.map_err(DetachError::Driver)?;
        Ok(())
    }

    /// Our attachments, with what is known of their volumes and nodes.
    fn rivals(&self) -> impl Iterator<Item = Rival> {
        let ours = self.caches.attachments.store().list().into_iter().filter(|attachment| attachment.ours);
        ours.map(|attachment| Rival {
            handle: self.caches.handle(&attachment),
            node_id: self.caches.node_id(&self.config.driver, &attachment),
            attachment,
        })
    }
}

impl Job<Pair> for Withdrawals {
    async fn run(&self, pair: Pair) -> Outcome {
        self.pass(&pair).await
    }
}
