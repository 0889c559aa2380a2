//! Parsing without trust: one malformed object is reported and skipped, never fatal.

use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use thiserror::Error;

/// What can be read from the API server as one kind of object.
pub trait Wire:
    Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static
{
}

impl<W> Wire for W where
    W: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static
{
}

/// An object that does not have the shape its kind promises.
#[derive(Debug, Clone, Error)]
#[error("{reason}")]
pub struct Malformed {
    /// What serde objects to.
    pub reason: String,
    /// As much of the identity as could be read.
    pub metadata: ObjectMeta,
}

/// A wire object, or what is wrong with it.
///
/// `Differs:` kube's DeserializeGuard copies every object into a value tree first; this copies nothing.
#[derive(Debug, Clone)]
pub struct Guarded<W>(pub Result<W, Malformed>);

impl<'de, W: Wire> Deserialize<'de> for Guarded<W> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Borrowed: both lists and watch events are parsed from a text that is in memory anyway.
        let raw = <&RawValue>::deserialize(deserializer)?;
        Ok(Self(serde_json::from_str(raw.get()).map_err(|error| {
            let identity: NoObject = serde_json::from_str(raw.get()).unwrap_or_default();
            Malformed { reason: error.to_string(), metadata: identity.metadata }
        })))
    }
}

impl<W: Wire> Resource for Guarded<W> {
    type DynamicType = ();
    type Scope = W::Scope;

    fn kind((): &()) -> std::borrow::Cow<'_, str> {
        W::kind(&())
    }

    fn group((): &()) -> std::borrow::Cow<'_, str> {
        W::group(&())
    }

    fn version((): &()) -> std::borrow::Cow<'_, str> {
        W::version(&())
    }

    fn plural((): &()) -> std::borrow::Cow<'_, str> {
        W::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        match &self.0 {
            Ok(wire) => wire.meta(),
            Err(malformed) => &malformed.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Ok(wire) => wire.meta_mut(),
            Err(malformed) => &mut malformed.metadata,
        }
    }
}

/// An object of any kind of which nothing but the identity is read.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct NoObject {
    /// Name, namespace, uid, resourceVersion.
    #[serde(default, deserialize_with = "super::meta::without_managed_fields")]
    pub metadata: ObjectMeta,
}

/// Declares a wire type's place in the API.
macro_rules! wire {
    ($wire:ty, $group:literal, $version:literal, $kind:literal, $plural:literal, $scope:ident) => {
        impl k8s_openapi::Resource for $wire {
            const API_VERSION: &'static str =
                if $group.is_empty() { $version } else { concat!($group, "/", $version) };
            const GROUP: &'static str = $group;
            const KIND: &'static str = $kind;
            const VERSION: &'static str = $version;
            const URL_PATH_SEGMENT: &'static str = $plural;
            type Scope = k8s_openapi::$scope;
        }

        impl k8s_openapi::Metadata for $wire {
            type Ty = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

            fn metadata(&self) -> &Self::Ty {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut Self::Ty {
                &mut self.metadata
            }
        }
    };
}
pub(super) use wire;
