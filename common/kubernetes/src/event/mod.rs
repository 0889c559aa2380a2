//! Events on objects, as client-go records them: core/v1 events; repeats are counted, floods are limited.
//!
//! [`Correlator`] decides what becomes of an event. [`Recorder`] takes events without making the caller wait,
//! and [`deliver`] writes them in the background.
//!
//! Source: docs/upstream/provisioner.md, "Events". kube's own recorder is not used: it writes events.k8s.io,
//! which upstream's roles do not allow.

mod correlate;
mod deliver;
mod record;
mod recorder;
mod waiting;

pub use correlate::{Correlator, Fate};
pub use deliver::deliver;
pub use record::{Event, Kind, ObjectRef};
pub use recorder::{Recorded, Recorder};
