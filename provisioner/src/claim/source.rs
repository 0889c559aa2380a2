//! Reads what a claim is to be filled from, as the API server has it now. What is read is judged in [`super::request`].

use kubernetes::api;
use kubernetes::object::{Claim, Wire, WireSnapshot, WireSnapshotContent, WireSourceClaim};

use super::error::ProvisionError;
use super::reconcile::Claims;
use super::request::{Asked, Found, SourceError, asked};

impl Claims {
    /// What there is of the claim's source; nothing for a claim whose source will be refused unseen.
    ///
    /// `Differs:` upstream takes the source claim from its cache, which may still show a claim that is gone.
    pub(super) async fn found(&self, claim: &Claim) -> Result<Found, ProvisionError> {
        let namespace = claim.meta.namespace();
        let mut found = Found::default();
        match asked(claim) {
            Ok(Some(Asked::Snapshot(name))) if self.config.can.snapshots => {
                let snapshot = self.read_source::<WireSnapshot>("VolumeSnapshot", namespace, name).await?;
                found.snapshot = snapshot.map(Into::into);
                if let Some(name) = found.snapshot.as_ref().map(|snapshot| &*snapshot.content)
                    && !name.is_empty()
                {
                    let content =
                        self.read_source::<WireSnapshotContent>("VolumeSnapshotContent", "", name).await?;
                    found.content = content.map(Into::into);
                }
            }
            Ok(Some(Asked::Claim(name))) if self.config.can.clones => {
                let source =
                    self.read_source::<WireSourceClaim>("PersistentVolumeClaim", namespace, name).await?;
                found.claim = source.map(Into::into);
                if let Some(name) = found.claim.as_ref().map(|source| &*source.volume)
                    && !name.is_empty()
                {
                    found.volume = self.read_volume(name).await?;
                }
            }
            Ok(_) | Err(_) => {}
        }
        Ok(found)
    }

    async fn read_source<W: Wire>(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<W>, SourceError> {
        let found = self.seat.objects.get::<W>(namespace, name).await;
        found.map_err(|error| {
            let slash = if namespace.is_empty() { "" } else { "/" };
            SourceError::Unreadable(format!("{kind} {namespace}{slash}{name}"), api::text(&error))
        })
    }
}
