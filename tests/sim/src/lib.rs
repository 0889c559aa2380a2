//! The world around a sidecar, in memory and under control: an API server, a CSI driver, and faults at any step.
//!
//! - [`ApiServer`]: what kube-apiserver does, under `kube::Client`.
//! - [`Driver`]: what a CSI driver does, under `csi::Connection`.
//! - [`Collector`]: what a collector of OpenTelemetry does, under `process::Exporter`.
//! - [`Steps`]: every API request and RPC of the process under test has a number; a [`Fault`] can be planned for each.
//! - [`World`]: the three together, and the lives of a process in it ([`World::run`], [`Running::kill`]); for one of our
//!   sidecars [`World::sidecar`].
//! - [`Sidecar`] and [`Case`]: one of our sidecars and a case of it, as data, with the objects of [`objects`].
//! - [`binder`] and [`attach_detach`]: the parts of kube-controller-manager that bind claims and ask for attachments.
//! - [`port`]: the API server for processes, as `mooring-sim` serves it.
//! - [`crash::everywhere`]: kills the process before and after every step and compares how the world ends;
//!   [`crash::in_pairs`] tries two faults in one run.
//! - [`seeds()`]: which seeds the random tests try.
//!
//! All time is tokio's: with a paused clock a day passes in no time, and a run is the same each time.
//!
//! ```
//! use std::time::Duration;
//! use serde_json::json;
//! use sim::{Fault, World};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! let world = World::default();
//! let _binder = world.binder();
//! world.api.put(json!({
//!     "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
//!     "metadata": { "name": "fast" }, "provisioner": "driver.example",
//! }));
//! world.steps.on(|step| step.is("create", "persistentvolumes"), 1, Fault::ApiError(500));
//! let sidecar = world.run(Duration::from_secs(1), |world: World| async move {
//!     let (_client, _connection) = (world.client(), world.connection());
//!     std::future::pending::<()>().await
//! });
//! tokio::time::sleep(Duration::from_secs(1)).await;
//! assert_eq!(sidecar.lives(), 1);
//! assert!(world.api.requests().iter().all(|request| !request.is_write()));
//! # });
//! ```

mod api;
pub mod attach_detach;
pub mod binder;
mod case;
mod collector;
pub mod crash;
mod driver;
mod migration;
pub mod objects;
pub mod port;
mod seeds;
mod sidecar;
mod steps;
mod world;

pub use api::selector::selects;
pub use api::{ApiServer, Outage, Request, Rule};
pub use binder::Binder;
pub use case::{Case, Ended, Sidecar};
pub use collector::{Collector, Health, Received};
pub use driver::{Call, Driver, Model, Publication, Reply, Settings, Snapshot, Volume, id_of};
pub use seeds::{VARIABLE as SEEDS, seeds};
pub use steps::{Fault, Step, Steps};
pub use world::{Process, Running, World};
