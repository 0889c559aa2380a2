//! Whether the sidecar that must act runs: its Lease says so.

use std::fmt::Write as _;

use base::name::sanitize_driver_name;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::ask::Kind;
use crate::field::{few, name, namespace, text, time};
use crate::finding::{Finding, Who};
use crate::view::View;

/// Who works for a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sidecar {
    /// Makes and deletes volumes.
    Provisioner,
    /// Attaches and detaches them.
    Attacher,
    /// Grows them and changes their attributes.
    Resizer,
    /// Cuts snapshots.
    Snapshotter,
    /// Binds snapshots and contents; one for all drivers.
    SnapshotController,
}

/// Whether this can be the name of a CSI driver. Provisioners of other kinds have slashes in theirs, and Leases of other names.
fn is_csi(driver: &str) -> bool {
    !driver.contains('/')
}

/// A Lease counts as expired so much later than it says: clocks differ.
const GRACE: SignedDuration = SignedDuration::from_secs(10);

impl Sidecar {
    /// The program's name.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Provisioner => "csi-provisioner",
            Self::Attacher => "csi-attacher",
            Self::Resizer => "csi-resizer",
            Self::Snapshotter => "csi-snapshotter",
            Self::SnapshotController => "snapshot-controller",
        }
    }

    /// With the driver that it works for.
    pub(crate) fn words(self, driver: &str) -> String {
        match self {
            Self::SnapshotController => "snapshot-controller".to_owned(),
            _ if driver.is_empty() => "who made the volume".to_owned(),
            _ if !is_csi(driver) => format!("external provisioner {driver}"),
            _ => format!("{} of CSI driver {driver}", self.program()),
        }
    }

    /// The name of its Lease (docs/upstream/conventions.md).
    pub(crate) fn lease(self, driver: &str) -> String {
        let driver = sanitize_driver_name(driver);
        match self {
            Self::Provisioner => driver,
            Self::Attacher => format!("external-attacher-leader-{driver}"),
            Self::Resizer => format!("external-resizer-{driver}"),
            Self::Snapshotter => format!("external-snapshotter-leader-{driver}"),
            Self::SnapshotController => "snapshot-controller-leader".to_owned(),
        }
    }
}

/// Why nobody acts, if nobody leads. `is_seen` says that the sidecar has left traces on the object: without a Lease it may run
/// all the same, as not every one elects a leader.
pub(crate) fn idle(view: &View, sidecar: Sidecar, driver: &str, is_seen: bool) -> Option<Finding> {
    if !is_csi(driver) || (driver.is_empty() && sidecar != Sidecar::SnapshotController) {
        return None;
    }
    let lease = sidecar.lease(driver);
    let leases = view.named(Kind::Lease, &lease)?;
    if leases.is_empty() {
        return (!is_seen).then(|| absent(view, sidecar, driver, &lease));
    }
    if let Some(until) = leases.iter().filter_map(ends).max()
        && until > view.now
    {
        view.changes_at(until);
        return None;
    }
    let last = leases.iter().max_by_key(|lease| ends(lease))?;
    let place = format!("{}/{}", namespace(last), name(last));
    let renewed = time(last, "/spec/renewTime");
    let holder = text(last, "/spec/holderIdentity");
    let happened = match holder {
        "" => format!("Lease {place} was given back, and nobody has taken it"),
        holder => format!("Lease {place} has run out: {holder} renews it no more"),
    };
    let waits = format!("{} that leads", sidecar.words(driver));
    let finding = Finding::new("NoLeader", Who::Admin, happened, waits).since(renewed);
    Some(finding.run(format!("kubectl -n {} get pods", namespace(last))))
}

/// When the holder's time is over; `None` if there is no holder.
fn ends(lease: &Value) -> Option<Timestamp> {
    let seconds = lease.pointer("/spec/leaseDurationSeconds")?.as_i64()?;
    if text(lease, "/spec/holderIdentity").is_empty() {
        return None;
    }
    time(lease, "/spec/renewTime")?
        .checked_add(SignedDuration::from_secs(seconds))
        .ok()?
        .checked_add(GRACE)
        .ok()
}

fn absent(view: &View, sidecar: Sidecar, driver: &str, lease: &str) -> Finding {
    let mut happened =
        format!("no {} has led: there is no Lease {lease} in any namespace", sidecar.program());
    let mut cause = "NoLeader";
    if sidecar != Sidecar::SnapshotController
        && view.global(Kind::Driver, driver).is_absent()
        && let Some(known) = view.all(Kind::Driver, "")
    {
        cause = "DriverUnknown";
        let known: Vec<&str> = known.iter().map(name).collect();
        let known = few(&known);
        // Writing to a String cannot fail.
        let _ = write!(happened, ", and no CSIDriver {driver}. CSIDrivers here: {known}");
    }
    let waits = match cause {
        "DriverUnknown" => {
            format!(
                "{} to be installed, or the right driver's name in what names this one",
                sidecar.words(driver)
            )
        }
        _ => format!("{} to run (one that elects no leader has no Lease)", sidecar.words(driver)),
    };
    Finding::new(cause, Who::Admin, happened, waits).run(format!("kubectl get leases -A | grep {lease}"))
}
