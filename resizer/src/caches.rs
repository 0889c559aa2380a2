//! The caches that resizing reads.

use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolume;
use kubernetes::api::{self, Objects};
use kubernetes::collection::Collection;
use kubernetes::object::{AttributesClass, Claim, CsiSource, Key, Scope, Volume, VolumeSpec, WireVolume};
use kubernetes::store::Store;
use thiserror::Error;
use translation::{Plugins, Translation, TranslationError};

/// The caches.
#[derive(Clone)]
pub(crate) struct Caches {
    /// The claims of our volumes, and of in-tree volumes that name our driver.
    pub(crate) claims: Collection<Claim>,
    /// Our volumes.
    pub(crate) volumes: Collection<Volume>,
    /// Every VolumeAttributesClass; empty if nothing is modified.
    pub(crate) classes: Arc<Store<AttributesClass>>,
    /// The API server, for what the caches do not have.
    pub(crate) objects: Objects,
}

/// Why a volume cannot be given to the driver.
#[derive(Debug, Error)]
pub(crate) enum VolumeError {
    /// It could not be read.
    #[error("could not read PersistentVolume \"{volume}\": {}", api::text(.cause))]
    Read {
        /// Its name.
        volume: Box<str>,
        /// Why.
        cause: api::Error,
    },
    /// It is gone, or another one has its name by now.
    #[error("PersistentVolume \"{0}\" not found")]
    Gone(Box<str>),
    /// The in-tree volume cannot be translated.
    #[error("failed to translate persistent volume: {0}")]
    Translation(#[from] TranslationError),
    /// It has no CSI source, and no in-tree source that a CSI driver serves.
    #[error("PersistentVolume \"{0}\" has no csi source, and no in-tree source that a CSI driver serves")]
    NotCsi(Box<str>),
    /// It has no handle.
    #[error("empty volume handle")]
    NoHandle,
}

impl Caches {
    /// The volume of a claim: from the cache, else from the API server if the claim says that our driver must resize it.
    /// `None` if there is none, or if it is another driver's. When our volume of that name appears in the cache, the claim is
    /// looked at again.
    ///
    /// `Differs:` upstream fails, and tries again with a back-off, while its cache does not have the volume of a claim.
    ///
    /// # Errors
    /// The API server did not answer.
    pub(crate) async fn volume_of(
        &self,
        claim: &Claim,
        scope: &Scope,
    ) -> Result<Option<Arc<Volume>>, api::Error> {
        if let Some(volume) = self.volumes.get(&Key::cluster(&claim.volume)) {
            return Ok(Some(volume));
        }
        if !claim.names_resizer(scope) {
            return Ok(None);
        }
        // Nothing on an in-tree volume tells the cache that it is ours before its annotation is set.
        let found = self.objects.get::<WireVolume>("", &claim.volume).await?;
        Ok(found.map(|wire| Arc::new(Volume::from_wire(wire, scope))))
    }

    /// The claim as the cache has it now. A re-created claim of the same name is not it.
    pub(crate) fn latest(&self, claim: &Claim) -> Option<Arc<Claim>> {
        self.claims.get(&claim.meta.key).filter(|latest| latest.meta.uid == claim.meta.uid)
    }

    /// The volume as CSI sees it. The source of an in-tree volume is not cached, so it is read and translated.
    ///
    /// # Errors
    /// [`VolumeError`]
    pub(crate) async fn csi_form(&self, volume: &Volume, plugins: Plugins) -> Result<CsiForm, VolumeError> {
        let name = || volume.meta.name().into();
        let form = match &volume.spec.csi {
            Some(source) => {
                CsiForm { spec: volume.spec.clone(), source: (**source).clone(), migrated: false }
            }
            None => {
                let read = self.volumes.read::<PersistentVolume>(&volume.meta).await;
                let found = read.map_err(|cause| VolumeError::Read { volume: name(), cause })?;
                let translated = plugins.to_csi(found.ok_or_else(|| VolumeError::Gone(name()))?)?;
                let ours = Volume::from_library(&translated, self.volumes.store().scope());
                let spec = ours.ok_or_else(|| VolumeError::NotCsi(name()))?.spec;
                let source = spec.csi.as_deref().cloned().ok_or_else(|| VolumeError::NotCsi(name()))?;
                CsiForm { spec, source, migrated: true }
            }
        };
        if form.source.volume_handle.is_empty() {
            return Err(VolumeError::NoHandle);
        }
        Ok(form)
    }
}

/// A volume as CSI sees it.
#[derive(Debug)]
pub(crate) struct CsiForm {
    /// How it is used.
    pub(crate) spec: VolumeSpec,
    /// Its source.
    pub(crate) source: CsiSource,
    /// Whether it was translated from an in-tree plugin's.
    pub(crate) migrated: bool,
}
