//! The Go csi-provisioner and ours: the same claims through both, and a rolling change while claims come and go
//! (docs/upstream/provisioner.md).

mod equal;
mod failing;
mod mix;
mod refused;
mod rolling;
mod seen;
mod snapshots;

use base::metrics::Metrics;
use cluster::binaries::Binary;
use cluster::implementation::{IN_TURN, Implementation};
use cluster::stand::{Replica, Stand};
use csi::{CallLog, Client, Connection, DialOptions, Endpoint};

/// A csi-provisioner of either, with these flags beside those for sidecars that follow each other.
fn provisioner(whose: Implementation, stand: &Stand, name: &str, flags: &[&str]) -> Replica {
    let flags = [&IN_TURN[..], &["--retry-interval-start=500ms", "--timeout=60s"], flags].concat();
    whose.start(stand, Binary::CsiProvisioner, name, &flags)
}

/// The driver, as the test calls it itself.
async fn driver(stand: &Stand) -> Client {
    let socket = stand.control_plane.folder().join("csi.sock");
    let endpoint = Endpoint::parse(&socket.to_string_lossy()).expect("an address");
    let connection = Connection::dial(endpoint, DialOptions::default()).await.expect("the driver");
    Client::new(connection, Metrics::new(), CallLog::default())
}
