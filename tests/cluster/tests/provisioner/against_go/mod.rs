//! The Go csi-provisioner and ours: the same claims through both, and a rolling change while claims come and go
//! (docs/upstream/provisioner.md).

mod equal;
mod mix;
mod rolling;
mod seen;

use base::metrics::Metrics;
use cluster::stand::{Replica, Stand};
use csi::{CallLog, Client, Connection, DialOptions, Endpoint};

/// Who provisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Implementation {
    Go,
    Ours,
}

/// Short leases, and room for many requests.
const FLAGS: [&str; 8] = [
    "--leader-election",
    "--leader-election-lease-duration=6s",
    "--leader-election-renew-deadline=4s",
    "--leader-election-retry-period=1s",
    "--kube-api-qps=100",
    "--kube-api-burst=200",
    "--retry-interval-start=500ms",
    "--timeout=60s",
];

impl Implementation {
    fn start(self, stand: &Stand, name: &str, flags: &[&str]) -> Replica {
        let flags = [&FLAGS[..], flags].concat();
        match self {
            Self::Go => stand.go_provisioner(name, &flags),
            Self::Ours => stand.replica("csi-provisioner", name, &flags),
        }
    }
}

/// The driver, as the test calls it itself.
async fn driver(stand: &Stand) -> Client {
    let socket = stand.control_plane.folder().join("csi.sock");
    let endpoint = Endpoint::parse(&socket.to_string_lossy()).expect("an address");
    let connection = Connection::dial(endpoint, DialOptions::default()).await.expect("the driver");
    Client::new(connection, Metrics::new(), CallLog::default())
}
