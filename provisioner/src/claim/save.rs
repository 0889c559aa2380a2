//! Creates the PersistentVolume of a volume that exists at the driver (docs/upstream/provisioner.md,
//! "Saving").

use base::queue::{Job, Outcome};
use csi::{grpc_text, v1};
use kube::Resource;
use kubernetes::api;
use kubernetes::collection::Created;
use kubernetes::event::Kind;
use kubernetes::object::annotation::SELECTED_NODE;
use kubernetes::object::{Claim, Key, NODE_NAME, Volume, WireClaim, WireNode, is_in};
use kubernetes::secret::{SecretError, read};
use thiserror::Error;
use tonic::Status;

use super::create::holder_of;
use super::error::ProvisionError;
use super::memory::Unsaved;
use super::queue::ClaimId;
use super::reconcile::Claims;

impl Claims {
    /// Creates the object. False means: try again, as after any error while the volume is remembered: the name may become
    /// free.
    pub(super) async fn save(&self, unsaved: &Unsaved) -> Result<bool, ProvisionError> {
        let (volume, claim) = (&unsaved.volume, &unsaved.claim);
        let (key, name) = (Key::cluster(volume.name()), volume.name().to_owned());
        let (mut shared, mut elsewhere) = (false, false);
        let same = |known: &Volume| {
            shared = self.is_stored(known, unsaved);
            elsewhere = self.is_another_node_s(known, unsaved);
            shared && is_for(known, unsaved)
        };
        // An earlier try may have stored it although its reply was lost. What the cache shows may be gone.
        let is_it = |known: &Volume| self.is_stored(known, unsaved) && is_for(known, unsaved);
        let known = self.volumes.get(&key).is_some_and(|known| is_it(&known));
        let known = known && self.read_volume(&name).await.is_ok_and(|live| live.as_ref().is_some_and(is_it));
        if !known {
            match self.is_given_away(unsaved).await {
                Ok(false) => {}
                Ok(true) => return Err(ProvisionError::GivenAway),
                Err(error) => {
                    base::error!(api::text(&error), "Cannot tell whose the claim is; will retry"; "claim" => claim.meta.key);
                    return Ok(false);
                }
            }
        }
        let created = match (known, &unsaved.in_tree) {
            (true, _) => Ok(Created::Stored),
            (false, None) => self.volumes.create(&key, &**volume, same).await,
            (false, Some(object)) => self.volumes.create(&key, &**object, same).await,
        };
        match created {
            Ok(Created::Stored) => {}
            Ok(Created::Taken) if elsewhere => return Err(ProvisionError::GivenAway),
            Ok(Created::Taken) if shared && unsaved.in_tree.is_none() => {
                // It is another claim's, and goes with that.
                self.memory().forget_unsaved(&claim.meta.uid);
                let handle = volume.handle().to_owned();
                return Err(ProvisionError::VolumeTaken { handle, holder: name });
            }
            Ok(Created::Taken) => return Err(self.name_taken(name, claim).await),
            // We may have failed only because we no longer lead; the next leader goes on.
            Err(_) if !self.seat.leadership.holds() => return Ok(false),
            Err(error) if is_refusal(&error) => {
                return Err(ProvisionError::Refused { name, reason: api::text(&error) });
            }
            Err(error) => {
                base::error!(api::text(&error), "Created the volume but not its PersistentVolume; will retry";
                    "volume" => volume.name(), "claim" => claim.meta.key);
                return Ok(false);
            }
        }
        self.memory().forget_unsaved(&claim.meta.uid);
        self.metrics.provisioned(claim, unsaved.begun.elapsed());
        base::info!("Volume provisioned"; "volume" => volume.name(), "claim" => claim.meta.key);
        if self.is_waiting(claim) {
            let message = format!("Successfully provisioned volume {}", volume.name());
            self.tell(claim, Kind::Normal, "ProvisioningSucceeded", message);
        }
        Ok(true)
    }

    /// Another object has the volume's name: whose it is.
    async fn name_taken(&self, name: String, claim: &Claim) -> ProvisionError {
        let live = self.read_volume(&name).await.ok().flatten();
        ProvisionError::NameTaken { name, holder: live.and_then(|live| holder_of(&live, &claim.meta.uid)) }
    }

    /// The object cannot be stored as things are.
    async fn give_up_or_retry(&self, unsaved: &Unsaved, error: &ProvisionError) -> Outcome {
        let claim = &unsaved.claim;
        let given_away = matches!(error, ProvisionError::GivenAway);
        if !given_away {
            base::error!(error, "Created the volume but not its PersistentVolume";
                "volume" => unsaved.volume.name(), "claim" => claim.meta.key);
            self.tell(claim, Kind::Warning, "ProvisioningFailed", error.to_string());
        }
        if self.memory().unsaved(&claim.meta.uid).is_none() {
            return Outcome::Done;
        }
        if given_away || !self.is_waiting(claim) {
            match self.abandon(unsaved).await {
                Ok(true) => return Outcome::Done,
                Ok(false) => {}
                Err(error) => {
                    base::error!(error, "Cannot delete the volume of a claim that is gone or another node's; will retry";
                    "volume" => unsaved.volume.name(), "claim" => claim.meta.key)
                }
            }
        }
        Outcome::Retry
    }

    /// Gives up a volume whose object cannot be stored and whose claim is gone or another node's: deletes it at the driver.
    /// True when nothing is left to do.
    ///
    /// `Differs:` upstream tries to store the object for ever. With a provisioner on each node, it leaves the volume that was
    /// made on a node for a claim that another node has taken over.
    async fn abandon(&self, unsaved: &Unsaved) -> Result<bool, AbandonError> {
        let (volume, claim) = (&unsaved.volume, &unsaved.claim);
        let live = self.live(claim).await?;
        let known = self.read_volume(volume.name()).await?;
        let is_there = known.as_ref().is_some_and(|known| self.is_another_node_s(known, unsaved));
        if let Some(live) = live
            && !is_there
            && !self.is_lost_to(selected(&live), unsaved).await?
        {
            return Ok(false);
        }
        // An earlier try may have stored the object, or the volume is another claim's by now.
        let held = known.is_some_and(|known| self.is_stored(&known, unsaved));
        if !held && self.holder(volume.handle(), &volume.segments()).await?.is_none() {
            let mut request =
                v1::DeleteVolumeRequest { volume_id: volume.handle().to_owned(), ..Default::default() };
            if let Some(reference) = &unsaved.secret {
                match read(&self.seat.objects, reference).await {
                    Ok(secrets) => request.secrets = secrets.to_request(),
                    // It may have gone with the claim's namespace, for ever: let the driver decide without it.
                    Err(error @ SecretError::NotFound { .. }) => {
                        base::error!(error, "The Secret is gone; calling DeleteVolume without it";
                            "volume" => volume.name(), "secret" => reference);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            let (driver, timeout) = (&self.seat.driver, self.config.timeout);
            let migrated = unsaved.in_tree.is_some();
            driver.call_migrated(request, timeout, migrated).await.map_err(AbandonError::Driver)?;
            base::info!("Deleted a volume that could not be stored and whose claim is gone or another node's";
                "volume" => volume.name(), "claim" => claim.meta.key);
        }
        self.memory().forget_unsaved(&claim.meta.uid);
        Ok(true)
    }

    /// With a provisioner on each node: whether the object is for a volume that another node has made for the same claim.
    fn is_another_node_s(&self, known: &Volume, unsaved: &Unsaved) -> bool {
        is_for(known, unsaved) && !self.is_stored(known, unsaved) && self.is_out_of_reach(known)
    }

    /// With a provisioner on each node: whether the claim is another node's by now, which does not reach the volume. A claim that
    /// waits no longer is read: it may have got its volume, and lost that again.
    async fn is_given_away(&self, unsaved: &Unsaved) -> Result<bool, api::Error> {
        let claim = &unsaved.claim;
        if self.config.node.is_none() {
            return Ok(false);
        }
        if let Some(known) = self.waiting(&claim.meta.key).filter(|known| known.meta.uid == claim.meta.uid) {
            return self.is_lost_to(known.meta.annotations.get(SELECTED_NODE), unsaved).await;
        }
        match self.live(claim).await? {
            Some(live) => self.is_lost_to(selected(&live), unsaved).await,
            None => Ok(false),
        }
    }

    /// Whether a node is selected that is not this provisioner's own, and certainly does not reach the volume. If nobody can
    /// tell, the volume is stored: the other node may have been given the same one by its driver.
    async fn is_lost_to(&self, selected: Option<&str>, unsaved: &Unsaved) -> Result<bool, api::Error> {
        let Some(own) = &self.config.node else { return Ok(false) };
        let Some(node) = selected.filter(|node| !node.is_empty() && **node != *own.name) else {
            return Ok(false);
        };
        let places = unsaved.volume.segments();
        if places.is_empty() {
            return Ok(false);
        }
        let names_own =
            |place: &String| place.split(',').any(|part| part.ends_with(&format!("={}", own.name)));
        if places.iter().all(names_own) {
            return Ok(true);
        }
        let mut there = match self.seat.objects.get::<WireNode>("", node).await {
            Ok(Some(live)) => live.meta().labels.clone().unwrap_or_default(),
            Ok(None) => return Ok(false),
            Err(error) if api::is(&error, 403) => return Ok(false),
            Err(error) => return Err(error),
        };
        there.insert(NODE_NAME.to_owned(), node.to_owned());
        Ok(!places.iter().any(|place| is_in(place, &there)))
    }

    /// The claim as the API server has it, if it is there.
    pub(super) async fn live(&self, claim: &Claim) -> Result<Option<WireClaim>, api::Error> {
        self.seat.objects.same::<WireClaim>(&claim.meta).await
    }
}

fn selected(live: &WireClaim) -> Option<&str> {
    live.meta().annotations.as_ref()?.get(SELECTED_NODE).map(String::as_str)
}

/// Whether the stored object is for the claim that we made our volume for.
///
/// `Differs:` upstream treats any object of that name as its own.
fn is_for(known: &Volume, unsaved: &Unsaved) -> bool {
    known.claim.as_ref().is_some_and(|claim| claim.uid == *unsaved.volume.claim_uid())
}

/// Whether the API server refuses the object itself, so that only another object or another policy could help.
fn is_refusal(error: &api::Error) -> bool {
    [400, 403, 413, 422].into_iter().any(|code| api::is(error, code))
}

/// Why a volume that nobody wants could not be deleted yet.
#[derive(Debug, Error)]
enum AbandonError {
    #[error("{}", api::text(.0))]
    Claim(#[from] api::Error),
    #[error(transparent)]
    Volume(#[from] ProvisionError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("{}", grpc_text(.0))]
    Driver(Status),
}

/// The queue of volumes whose objects are not created yet (upstream's `unsavedpvs`).
pub(crate) struct UnsavedVolumes(pub std::sync::Arc<Claims>);

impl Job<ClaimId> for UnsavedVolumes {
    async fn run(&self, id: ClaimId) -> Outcome {
        let claims = &self.0;
        if !claims.seat.leadership.holds() {
            return Outcome::Retry;
        }
        let Some(unsaved) = claims.memory().unsaved(&id.uid) else { return Outcome::Done };
        let outcome = match claims.save(&unsaved).await {
            Ok(true) => Outcome::Done,
            Ok(false) => Outcome::Retry,
            Err(error) => claims.give_up_or_retry(&unsaved, &error).await,
        };
        claims.free(&unsaved.claim, true);
        claims.settle_intents(&id.uid);
        outcome
    }
}
