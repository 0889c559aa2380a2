//! The parameters of a StorageClass and of a VolumeSnapshotClass: ceph-csi's.
//!
//! Parameters for the node's side are handed on in the volume's context. What this driver does not have is refused by name.

use std::collections::BTreeMap;

use crate::rbd::ceph::ImageOptions;
use crate::rbd::names::Kind;
use crate::refusal::Refusal;

/// Parameters of the sidecars, which are no part of a volume's context.
const SIDECARS: &str = "csi.storage.k8s.io/";
/// Set by csi-provisioner's `--extra-create-metadata`.
const CLAIM_NAMESPACE: &str = "csi.storage.k8s.io/pvc/namespace";

/// Features by name, their bits, and what each needs.
const FEATURES: [(&str, u64, Option<&str>); 6] = [
    ("layering", LAYERING, None),
    ("exclusive-lock", 1 << 2, None),
    ("object-map", 1 << 3, Some("exclusive-lock")),
    ("fast-diff", 1 << 4, Some("object-map")),
    ("deep-flatten", DEEP_FLATTEN, None),
    ("journaling", JOURNALING, Some("exclusive-lock")),
];
const LAYERING: u64 = 1;
const DEEP_FLATTEN: u64 = 1 << 5;
const JOURNALING: u64 = 1 << 6;

/// How large Ceph's objects can be.
const OBJECTS: std::ops::RangeInclusive<u64> = 4096..=32 << 20;

/// The features of images that are between others: snapshots, and a clone's intermediate.
pub(crate) const OF_INTERMEDIATES: u64 = LAYERING | DEEP_FLATTEN;

/// What a class says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Class {
    /// The key of the cluster in the configuration file.
    pub(crate) cluster: String,
    /// The pool of the images; a snapshot's is its volume's.
    pub(crate) pool: String,
    /// What the images' names begin with.
    pub(crate) prefix: String,
    /// How the images are made.
    pub(crate) options: ImageOptions,
    /// The namespace of the claim, if csi-provisioner told.
    pub(crate) owner: Option<String>,
    /// What is handed on.
    context: BTreeMap<String, String>,
}

impl Class {
    /// Reads a StorageClass's parameters.
    ///
    /// # Errors
    /// INVALID_ARGUMENT, with the parameter's name.
    pub(crate) fn of_volumes(parameters: &BTreeMap<String, String>) -> Result<Self, Refusal> {
        for absent in ["topologyConstrainedPools"] {
            if parameters.contains_key(absent) {
                return Err(wrong(absent, "is not supported by this driver: use pool"));
            }
        }
        if parameters.get("encrypted").is_some_and(|value| value != "false") {
            return Err(wrong("encrypted", "encryption is not supported by this driver"));
        }
        Ok(Self {
            cluster: required(parameters, "clusterID")?,
            pool: required(parameters, "pool")?,
            prefix: prefix(parameters, "volumeNamePrefix", Kind::Volume)?,
            options: options(parameters)?,
            owner: parameters.get(CLAIM_NAMESPACE).cloned(),
            context: parameters
                .iter()
                .filter(|(name, _)| !name.starts_with(SIDECARS))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        })
    }

    /// The context of a volume, for whoever mounts it.
    pub(crate) fn context(&self, image: &str, namespace: &str) -> BTreeMap<String, String> {
        let mut context = self.context.clone();
        let mut add = |name: &str, value: &str| context.insert(name.to_owned(), value.to_owned());
        add("pool", &self.pool);
        add("journalPool", &self.pool);
        add("imageName", image);
        if !namespace.is_empty() {
            add("radosNamespace", namespace);
        }
        context
    }
}

/// The prefix of a snapshot's image, from a VolumeSnapshotClass; and the cluster, if the class names one.
///
/// # Errors
/// INVALID_ARGUMENT, with the parameter's name.
pub(crate) fn of_snapshots(
    parameters: &BTreeMap<String, String>,
) -> Result<(Option<&String>, String), Refusal> {
    Ok((parameters.get("clusterID"), prefix(parameters, "snapshotNamePrefix", Kind::Snapshot)?))
}

fn required(parameters: &BTreeMap<String, String>, name: &'static str) -> Result<String, Refusal> {
    let value = parameters.get(name).filter(|value| !value.is_empty());
    value.cloned().ok_or_else(|| wrong(name, "is missing in the class"))
}

fn prefix(parameters: &BTreeMap<String, String>, name: &str, kind: Kind) -> Result<String, Refusal> {
    let prefix = parameters.get(name).map_or(kind.image_prefix(), String::as_str);
    // Ceph's own commands take these for pools, snapshots and namespaces.
    if prefix.is_empty() || prefix.contains(['/', '@', '\0']) {
        return Err(wrong(name, "must not be empty nor have / or @"));
    }
    Ok(prefix.to_owned())
}

fn options(parameters: &BTreeMap<String, String>) -> Result<ImageOptions, Refusal> {
    let number = |name: &'static str| {
        let value = parameters.get(name);
        let value =
            value.map(|value| value.parse::<u64>().map_err(|_| wrong(name, "must be a number of bytes")));
        value.transpose()
    };
    let stripes = match (number("stripeUnit")?, number("stripeCount")?) {
        (None, None) => None,
        (Some(unit), Some(count)) => Some((unit, count)),
        _ => return Err(wrong("stripeUnit", "needs stripeCount, and stripeCount needs it")),
    };
    let order = match number("objectSize")? {
        None => None,
        Some(size) if size.is_power_of_two() && OBJECTS.contains(&size) => {
            Some(u64::from(size.trailing_zeros()))
        }
        Some(_) => return Err(wrong("objectSize", "must be a power of two from 4096 to 33554432")),
    };
    let data_pool = parameters.get("dataPool").filter(|pool| !pool.is_empty()).cloned();
    Ok(ImageOptions { features: features(parameters)?, order, stripes, data_pool })
}

/// The bits of the features, none where Ceph's default is wanted.
fn features(parameters: &BTreeMap<String, String>) -> Result<Option<u64>, Refusal> {
    const NAME: &str = "imageFeatures";
    let Some(text) = parameters.get(NAME) else { return Ok(None) };
    let names: Vec<&str> = text.split(',').map(str::trim).collect();
    let mut bits = 0;
    for name in &names {
        let known = FEATURES.iter().find(|(known, ..)| known == name);
        let (_, bit, needs) = known.ok_or_else(|| wrong(NAME, &format!("{name:?} is no feature")))?;
        if let Some(needed) = needs.filter(|needed| !names.contains(needed)) {
            return Err(wrong(NAME, &format!("{name} needs {needed}")));
        }
        bits |= bit;
    }
    let mounter = parameters.get("mounter").map_or("rbd", String::as_str);
    if bits & JOURNALING != 0 && mounter != "rbd-nbd" {
        return Err(wrong(NAME, "journaling needs the mounter rbd-nbd"));
    }
    Ok(Some(bits))
}

fn wrong(name: &str, reason: &str) -> Refusal {
    Refusal::invalid("parameters", format!("{name} {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        let needed = [("clusterID", "c"), ("pool", "rbd")];
        let all = needed.iter().chain(entries).filter(|(_, value)| *value != "absent");
        all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_class_is_read_as_ceph_csi_reads_it() {
        let none = ImageOptions::default();
        let with = |features| ImageOptions { features: Some(features), ..none.clone() };
        for (entries, prefix, options) in [
            (&[][..], "csi-vol-", none.clone()),
            (&[("volumeNamePrefix", "k8s-")], "k8s-", none.clone()),
            (&[("imageFeatures", "layering")], "csi-vol-", with(1)),
            (
                &[("imageFeatures", "layering,exclusive-lock,object-map,fast-diff,deep-flatten")],
                "csi-vol-",
                with(0b11_1101),
            ),
            (
                &[("imageFeatures", "journaling,exclusive-lock"), ("mounter", "rbd-nbd")],
                "csi-vol-",
                with(0b100_0100),
            ),
            (
                &[
                    ("stripeUnit", "4096"),
                    ("stripeCount", "8"),
                    ("objectSize", "4194304"),
                    ("dataPool", "ec"),
                ],
                "csi-vol-",
                ImageOptions {
                    features: None,
                    order: Some(22),
                    stripes: Some((4096, 8)),
                    data_pool: Some("ec".to_owned()),
                },
            ),
        ] {
            let class = Class::of_volumes(&map(entries)).unwrap();
            assert_eq!((class.prefix.as_str(), class.options), (prefix, options), "{entries:?}");
        }
    }

    #[test]
    fn a_parameter_that_cannot_be_is_refused_by_name() {
        for (entries, word) in [
            (&[("clusterID", "absent")][..], "clusterID"),
            (&[("clusterID", "")], "clusterID"),
            (&[("pool", "")], "pool"),
            (&[("imageFeatures", "")], "imageFeatures"),
            (&[("imageFeatures", "layering,nope")], "\"nope\" is no feature"),
            (&[("imageFeatures", "object-map")], "object-map needs exclusive-lock"),
            (&[("imageFeatures", "fast-diff,exclusive-lock")], "fast-diff needs object-map"),
            (&[("imageFeatures", "journaling,exclusive-lock")], "rbd-nbd"),
            (&[("stripeUnit", "4096")], "stripeUnit"),
            (&[("stripeCount", "x"), ("stripeUnit", "1")], "stripeCount"),
            (&[("objectSize", "5")], "objectSize"),
            (&[("objectSize", "1")], "objectSize"),
            (&[("volumeNamePrefix", "a/b")], "volumeNamePrefix"),
            (&[("encrypted", "true")], "encrypted"),
            (&[("topologyConstrainedPools", "[]")], "topologyConstrainedPools"),
        ] {
            let mut parameters = map(entries);
            if entries.first() == Some(&("clusterID", "absent")) {
                parameters.remove("clusterID");
            }
            let refusal = Class::of_volumes(&parameters).unwrap_err();
            assert_eq!(refusal.code(), tonic::Code::InvalidArgument);
            assert!(refusal.to_string().contains(word), "{entries:?}: {refusal}");
        }
    }

    #[test]
    fn the_context_has_the_class_and_where_the_image_is() {
        let class = Class::of_volumes(&map(&[
            ("mounter", "rbd-nbd"),
            ("csi.storage.k8s.io/fstype", "xfs"),
            ("csi.storage.k8s.io/pvc/namespace", "team"),
        ]))
        .unwrap();
        assert_eq!(class.owner.as_deref(), Some("team"));
        let expected = [
            ("clusterID", "c"),
            ("imageName", "csi-vol-u"),
            ("journalPool", "rbd"),
            ("mounter", "rbd-nbd"),
            ("pool", "rbd"),
            ("radosNamespace", "n"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(class.context("csi-vol-u", "n"), expected.into());
    }
}
