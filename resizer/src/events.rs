//! The events that users read about their claims.

use kubernetes::event::{Event, Kind, ObjectRef, Recorder};
use kubernetes::object::Claim;

/// Records an event about a claim.
pub(crate) fn tell(events: &Recorder, claim: &Claim, kind: Kind, reason: &'static str, message: String) {
    let object = ObjectRef {
        api_version: "v1",
        kind: "PersistentVolumeClaim",
        namespace: claim.meta.namespace().into(),
        name: claim.meta.name().into(),
        uid: claim.meta.uid.clone(),
        version: claim.meta.version,
    };
    events.record(Event { object, kind, reason, message });
}
