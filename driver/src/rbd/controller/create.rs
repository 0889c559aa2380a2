//! CreateVolume.

use csi::v1;

use super::capabilities::usable;
use super::clone::Origin;
use crate::check;
use crate::controller::create::checked_source;
use crate::controller::describe_source;
use crate::lock::Key;
use crate::rbd::ceph::is;
use crate::rbd::class::Class;
use crate::rbd::connections::Site;
use crate::rbd::credentials;
use crate::rbd::driver::Rbd;
use crate::rbd::error;
use crate::rbd::handle::Handle;
use crate::rbd::image;
use crate::rbd::journal::{Journal, Reservation};
use crate::rbd::names::{self, Kind};
use crate::rbd::plan::{Entry, Found, Seen, Step, about_name};
use crate::rbd::size;
use crate::refusal::Refusal;
use crate::store::Source;

/// What a request asks for, after the checks that need nothing else.
struct Wanted {
    name: String,
    is_nameless: bool,
    class: Class,
    range: v1::CapacityRange,
    source: Option<Source>,
}

/// Where a volume is made.
struct Place {
    site: Site,
    /// The journal in the class's pool.
    journal: Journal,
}

impl Rbd {
    /// Makes a volume, or finds the one that an earlier call with this name made, or finishes that one's work.
    ///
    /// Differs: with `--nameless-volumes` a call without a name makes `<pool>-dynamic-pvc-<uuid>`, which cannot be repeated;
    /// ceph-csi refuses it, as ours does without that flag. A volume that is smaller than its source is OUT_OF_RANGE, as the
    /// specification has it; ceph-csi answers INVALID_ARGUMENT. A call that is repeated when its source is gone gives the volume that
    /// the first one made, or undoes what that one began; ceph-csi answers NOT_FOUND, and what it has made stays.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field; ALREADY_EXISTS when the name has another size; NOT_FOUND for an unknown source;
    /// OUT_OF_RANGE for an impossible size; ABORTED while the name is worked on or the source's chain of clones is being cut;
    /// UNAVAILABLE when Ceph does not answer.
    pub(crate) fn create_volume(
        &self,
        request: v1::CreateVolumeRequest,
    ) -> Result<v1::CreateVolumeResponse, Refusal> {
        let wanted = self.wanted(&request)?;
        let who = credentials::of_secrets(&request.secrets)?;
        let _call = self.calls.take()?;
        let _name = self.locks.alone(Key::Name("volume", wanted.name.clone()))?;
        let site = self.site(&wanted.class.cluster, who.clone())?;
        let missing = |pool: &String| {
            let cluster = &wanted.class.cluster;
            Refusal::invalid("parameters", format!("pool {pool:?} is not in cluster {cluster:?}"))
        };
        let pool = site.pool_named(&wanted.class.pool)?.ok_or_else(|| missing(&wanted.class.pool))?;
        if let Some(data) = &wanted.class.options.data_pool {
            site.pool_named(data)?.ok_or_else(|| missing(data))?;
        }
        let place = Place { journal: self.journal(pool, Kind::Volume), site };
        let entry = place.journal.find(&wanted.name)?;
        let origin = wanted.source.as_ref().map(|source| self.origin(source, &wanted.class.cluster, who));
        let (origin, unknown) = match origin.transpose() {
            Ok(origin) => (origin, None),
            // What an earlier call made of it is there all the same; what that one only began goes.
            Err(unknown @ Refusal::Unknown { .. }) => (None, Some(unknown)),
            Err(refusal) if entry.is_some() => return Err(error::unfinished(refusal)),
            Err(refusal) => return Err(refusal),
        };
        if let Some(entry) = &entry
            && let Some(made) =
                self.settle(&wanted, &place, origin.as_ref(), entry).map_err(error::unfinished)?
        {
            return Ok(made);
        }
        match unknown {
            Some(unknown) => Err(unknown),
            None => self.make(&wanted, &place, origin.as_ref()),
        }
    }

    fn wanted(&self, request: &v1::CreateVolumeRequest) -> Result<Wanted, Refusal> {
        let is_nameless = self.options.nameless && request.name.is_empty();
        if !is_nameless {
            check::required("name", &request.name)?;
        }
        check::capabilities(&request.volume_capabilities)?;
        check::map("parameters", &request.parameters)?;
        check::secrets(&request.secrets)?;
        if !request.mutable_parameters.is_empty() {
            return Err(Refusal::Unsupported("mutable_parameters"));
        }
        let range = request.capacity_range.unwrap_or_default();
        if request.capacity_range.is_some() {
            check::range(&range)?;
        }
        check::requirement(request.accessibility_requirements.as_ref())?;
        let source = request.volume_content_source.as_ref().map(checked_source).transpose()?;
        usable(&request.volume_capabilities, source.is_some())?;
        let class = Class::of_volumes(&request.parameters)?;
        // Before anything is made: there could be no id of it.
        id(&class.cluster, 0, &names::new_uuid())?;
        let name =
            if is_nameless { names::nameless(&class.pool, &names::new_uuid()) } else { request.name.clone() };
        Ok(Wanted { name, is_nameless, class, range, source })
    }

    /// Makes the volume.
    fn make(
        &self,
        wanted: &Wanted,
        place: &Place,
        origin: Option<&Origin>,
    ) -> Result<v1::CreateVolumeResponse, Refusal> {
        let mut bytes = size::size(&wanted.range)?;
        if let Some(origin) = origin {
            bytes = origin.size_for(bytes, &wanted.range)?;
            self.check_depth(origin)?;
        }
        let reservation = Reservation {
            name: &wanted.name,
            prefix: (!wanted.is_nameless).then_some(wanted.class.prefix.as_str()),
            owner: wanted.class.owner.as_deref(),
            source: None,
        };
        let (uuid, image) = place.journal.reserve(&reservation)?;
        let outcome = self
            .make_image(wanted, place, &image, bytes, origin)
            .and_then(|seen| place.journal.record(&uuid, &seen.id).map(|()| seen));
        match outcome {
            Ok(seen) => self.created(wanted, place, &uuid, &image, &seen).map_err(error::unfinished),
            Err(refusal) => Err(error::undone(refusal, || {
                place.journal.begin_undo(&uuid, None)?;
                self.undo(place, wanted, &uuid, &image, origin)
            })),
        }
    }

    /// Answers about, finishes or undoes what the journal has.
    fn settle(
        &self,
        wanted: &Wanted,
        place: &Place,
        origin: Option<&Origin>,
        entry: &Entry,
    ) -> Result<Option<v1::CreateVolumeResponse>, Refusal> {
        let journal = match entry.pool.filter(|pool| *pool != place.journal.pool.id) {
            None => place.journal.clone(),
            Some(id) => match place.site.pool(id)? {
                Some(pool) => place.journal.clone().with_images_in(pool),
                // With its pool the image is gone, and all that was known of it.
                None => {
                    base::warn!("Forgetting a volume whose pool is gone"; "volume" => wanted.name, "pool" => id);
                    place.journal.release(&wanted.name, &entry.uuid)?;
                    return Ok(None);
                }
            },
        };
        let attributes = journal.attributes(&entry.uuid)?;
        let image_name = attributes.as_ref().map(|attributes| attributes.image.clone());
        let seen = match &image_name {
            Some(name) => image::seen(&journal.pool, name, Kind::Volume)?,
            None => None,
        };
        let found = Found {
            name: &wanted.name,
            attributes: attributes.as_ref(),
            image: seen.as_ref(),
            is_copy: wanted.source.is_some(),
        };
        match (about_name(found), image_name, seen) {
            (Step::Answer, Some(name), Some(seen)) => {
                let place = Place { site: place.site.clone(), journal };
                self.created(wanted, &place, &entry.uuid, &name, &seen).map(Some)
            }
            (Step::Record | Step::Complete, Some(name), Some(mut seen)) => {
                // The earlier call ended between its image and this record: a copy may still be as small as its source.
                if let Some(origin) = origin {
                    let bytes = origin.size_for(size::size(&wanted.range)?, &wanted.range)?;
                    seen.size = origin.finish(&journal.pool, &name, bytes)?;
                }
                journal.record(&entry.uuid, &seen.id)?;
                let place = Place { site: place.site.clone(), journal };
                self.created(wanted, &place, &entry.uuid, &name, &seen).map(Some)
            }
            (Step::Refuse, ..) => {
                let what = format!("the journal's entry of volume {:?} belongs to another name", wanted.name);
                Err(Refusal::System { what, source: std::io::ErrorKind::InvalidData.into() })
            }
            (_, name, _) => {
                base::warn!("Undoing what an earlier call began"; "volume" => wanted.name, "uuid" => entry.uuid);
                let name = name.unwrap_or_else(|| format!("{}{}", Kind::Volume.image_prefix(), entry.uuid));
                journal.begin_undo(&entry.uuid, attributes.and_then(|known| known.image_id).as_deref())?;
                let place = Place { site: place.site.clone(), journal };
                self.undo(&place, wanted, &entry.uuid, &name, origin)?;
                Ok(None)
            }
        }
    }

    /// Makes the image.
    fn make_image(
        &self,
        wanted: &Wanted,
        place: &Place,
        image: &str,
        bytes: u64,
        origin: Option<&Origin>,
    ) -> Result<Seen, Refusal> {
        let pool = &place.journal.pool;
        let failed = || error::ceph(format!("cannot make image {image:?}"));
        match origin {
            None => match pool.create_image(image, bytes, &wanted.class.options) {
                Err(error) if is(&error, rustix::io::Errno::INVAL) => {
                    let reason = format!(
                        "Ceph makes no image of {bytes} bytes with these features, stripes and objects"
                    );
                    return Err(Refusal::invalid("parameters", reason));
                }
                outcome => outcome.map_err(failed())?,
            },
            Some(origin) => origin.copy(pool, image, bytes, &wanted.class.options)?,
        }
        let seen = image::seen(pool, image, Kind::Volume)?;
        seen.ok_or_else(|| failed()(rustix::io::Errno::NOENT.into()))
    }

    fn undo(
        &self,
        place: &Place,
        wanted: &Wanted,
        uuid: &str,
        image: &str,
        origin: Option<&Origin>,
    ) -> Result<(), Refusal> {
        if let Some(origin) = origin {
            origin.tidy(image)?;
        }
        image::remove_volume(&place.journal.pool, image, place.site.config.rbd.mirror_daemon_count)?;
        place.journal.forget(Some(&wanted.name), uuid, false)
    }

    /// The answer about a volume that is there.
    fn created(
        &self,
        wanted: &Wanted,
        place: &Place,
        uuid: &str,
        image: &str,
        seen: &Seen,
    ) -> Result<v1::CreateVolumeResponse, Refusal> {
        if !size::satisfies(seen.size, &wanted.range) {
            let v1::CapacityRange { required_bytes, limit_bytes } = wanted.range;
            return Err(Refusal::Clash(format!(
                "volume {:?} exists already with {} bytes; at least {required_bytes} and at most {limit_bytes} are asked for",
                wanted.name, seen.size
            )));
        }
        let handle = id(&wanted.class.cluster, place.journal.pool.id, uuid)?;
        let context = wanted.class.context(image, &place.site.config.rbd.rados_namespace);
        Ok(v1::CreateVolumeResponse {
            volume: Some(v1::Volume {
                capacity_bytes: i64::try_from(seen.size).unwrap_or(i64::MAX),
                volume_id: handle.to_string(),
                volume_context: context,
                content_source: wanted.source.as_ref().map(describe_source),
                accessible_topology: Vec::new(),
            }),
        })
    }
}

/// A volume's id.
fn id(cluster: &str, pool: i64, uuid: &str) -> Result<Handle, Refusal> {
    Handle::new(cluster, pool, uuid.to_owned()).ok_or_else(|| {
        Refusal::invalid("parameters", format!("clusterID: {cluster:?} is too long for a volume's id"))
    })
}
