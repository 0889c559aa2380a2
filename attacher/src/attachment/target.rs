//! Finds the volume of an attachment, as CSI sees it.

use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolume;
use kubernetes::api::Objects;
use kubernetes::collection::Collection;
use kubernetes::object::{Attachment, CsiSource, Key, Volume, VolumeSpec, WireVolume};
use translation::{Translation, TranslationError};

use super::error::SourceError;
use super::source::{Source, source};

/// The volume of an attachment, as CSI sees it.
pub(super) struct Target<'a> {
    /// The PersistentVolume; `None` for an inline volume.
    pub(super) volume: Option<Arc<Volume>>,
    /// The spec that an in-tree volume was translated to; `None` for other volumes.
    spec: Option<VolumeSpec>,
    inline: Option<&'a VolumeSpec>,
    /// Whether the volume was translated from an in-tree plugin's.
    pub(super) migrated: bool,
}

impl Target<'_> {
    /// Spec and CSI source.
    ///
    /// # Errors
    /// The volume has no CSI source.
    pub(super) fn csi(&self) -> Result<(&VolumeSpec, &CsiSource), SourceError> {
        let object = self.volume.as_ref().map(|volume| &volume.spec);
        let spec = self.spec.as_ref().or(self.inline).or(object);
        spec.and_then(|spec| Some((spec, spec.csi.as_deref()?))).ok_or_else(|| {
            let name = self.volume.as_ref().map_or("(inline)", |volume| volume.meta.name());
            SourceError::NotCsi(name.into())
        })
    }
}

/// Where volumes are looked for.
pub(super) struct Targets {
    /// The driver's name.
    pub(super) driver: Box<str>,
    /// The cache.
    pub(super) volumes: Collection<Volume>,
    /// The API server, for what the cache does not have.
    pub(super) objects: Objects,
    /// Translates in-tree volumes to CSI.
    pub(super) translation: Arc<dyn Translation>,
}

impl Targets {
    /// Finds the volume that an attachment names: in the cache, else at the API server. An in-tree volume is
    /// translated.
    ///
    /// `Differs:` upstream reads its cache only, and fails for a volume that the cache does not show yet. Our
    /// cache has only this driver's volumes, so a volume that is missing there may exist.
    pub(super) async fn find<'a>(&self, attachment: &'a Attachment) -> Result<Target<'a>, SourceError> {
        let name = match source(attachment)? {
            Source::Inline(spec, csi) => {
                self.check_driver(csi)?;
                return Ok(Target { volume: None, spec: None, inline: Some(spec), migrated: false });
            }
            Source::Volume(name) => name,
        };
        let volume = match self.volumes.get(&Key::cluster(name)) {
            Some(volume) => volume,
            None => Arc::new(self.read(name).await?),
        };
        if let Some(csi) = &volume.spec.csi {
            self.check_driver(csi)?;
            return Ok(Target { volume: Some(volume), spec: None, inline: None, migrated: false });
        }
        let spec = self.translated(&volume).await?;
        Ok(Target { volume: Some(volume), spec: Some(spec), inline: None, migrated: true })
    }

    /// Whether the cache says that the volume is an in-tree plugin's.
    pub(super) fn is_migrated(&self, volume: &str) -> bool {
        self.volumes.get(&Key::cluster(volume)).is_some_and(|volume| volume.spec.csi.is_none())
    }

    /// Refuses a volume of another driver.
    ///
    /// `Differs:` upstream calls this driver for another driver's volume.
    fn check_driver(&self, csi: &CsiSource) -> Result<(), SourceError> {
        let ours = *csi.driver == *self.driver;
        ours.then_some(()).ok_or_else(|| SourceError::Foreign { driver: (&*csi.driver).into() })
    }

    async fn read(&self, name: &str) -> Result<Volume, SourceError> {
        let read = self.objects.get::<WireVolume>("", name).await;
        let found = read.map_err(|cause| SourceError::Read { volume: name.into(), cause })?;
        let wire = found.ok_or_else(|| SourceError::VolumeNotFound(name.into()))?;
        Ok(Volume::from_wire(wire, self.volumes.store().scope()))
    }

    /// The CSI form of an in-tree volume. Its source is not cached, so it is read when it is needed. If the
    /// volume is gone by then, the cache forgets it too. Otherwise the attachments that wait for the volume
    /// would believe that it exists.
    async fn translated(&self, known: &Volume) -> Result<VolumeSpec, SourceError> {
        let name = known.meta.name();
        let read = self.volumes.read::<PersistentVolume>(&known.meta).await;
        let found = read.map_err(|cause| SourceError::Read { volume: name.into(), cause })?;
        let volume = found.ok_or_else(|| SourceError::VolumeNotFound(name.into()))?;
        let not_csi = || SourceError::NotCsi(name.into());
        let translated = self.translation.to_csi(volume).map_err(|error| match error {
            TranslationError::NotInTree => not_csi(),
            error => error.into(),
        })?;
        let ours = Volume::from_library(&translated, self.volumes.store().scope());
        let spec = ours.ok_or_else(not_csi)?.spec;
        self.check_driver(spec.csi.as_ref().ok_or_else(not_csi)?)?;
        Ok(spec)
    }
}
