//! Events on objects, as client-go records them: core/v1, repeated ones counted, floods held back.
//!
//! [`Correlator`] decides what becomes of an event; [`Recorder`] hands events over without ever waiting,
//! and [`deliver`] writes them in the background.
//!
//! Source: provisioner.md §16. `Differs:` kube's own recorder writes events.k8s.io, which upstream's
//! roles do not allow.

mod correlate;
mod record;

pub use correlate::{Correlator, Fate};
pub use record::{Event, Kind, ObjectRef, Recorder, deliver};
