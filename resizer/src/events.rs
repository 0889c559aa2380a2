//! The events that users read about their claims.

use kubernetes::event::{Event, Kind, ObjectRef, Recorder};
use kubernetes::object::Claim;

/// Records an event about a claim.
pub(crate) fn tell(events: &Recorder, claim: &Claim, kind: Kind, reason: &'static str, message: String) {
    let object = ObjectRef::core("PersistentVolumeClaim", &claim.meta);
    events.record(Event { object, kind, reason, message });
}
