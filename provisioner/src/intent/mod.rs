//! Intents: what CreateVolume is about to be asked for, written down before it is sent.
//!
//! A claim can be deleted while its volume is being made. Only this process knows then what was sent. If it dies too, nothing
//! leads to the volume any more, and it leaks. An intent outlives the process: the next leader reads it, sends the same
//! request again until there is a final answer, and stores the PersistentVolume, which Kubernetes then deletes with its
//! volume. Promises:
//! - no CreateVolume is sent before its intent is stored, and an intent stays stored until the request has a final answer
//!   and the volume, if there is one, has its PersistentVolume;
//! - all claims that wait share one write, and a request that is sent again costs none;
//! - an intent holds no content of Secrets, only their names.
//!
//! Intents are annotations of Lease objects in the namespace of leader election: `mooring-intents-<driver>-<number>`, as
//! many as their size demands. Upstream's role grants get, list, create and update on Leases already. It grants delete too: where
//! we may, empty Leases are deleted from the last on, but for the first. Nobody takes these Leases, and they may be deleted
//! when no csi-provisioner runs. With `--node-deployment` each node has its own, and the first goes too: a day after it was
//! used last, and when the process stops.
//!
//! A Lease that a backup brought into another cluster says nothing about this one. So each Lease bears its own uid, or that of
//! the driver's first Lease, and intents are sent again only where that agrees ([`origin`]). The first Lease is made empty: its uid is not
//! known before. That happens once in a cluster.
//!
//! - [`entry`]: an intent as text, and back; [`terms`]: lists of topology terms, which intents share;
//! - [`book`]: which intents there are, and which Lease has to be written;
//! - [`log`] writes the Leases, [`read`] reads those of an earlier leader, [`elsewhere`] those of other nodes, [`gone`] deletes those
//!   of nodes that are gone; [`place`]: which ones.
//!
//! `Differs:` upstream leaks the volume. The price: a new request waits for a write, which counts against `--kube-api-qps`; if the
//! write fails, the claim gets an event and is retried.
//!
//! `Differs:` a request of more than 200,000 bytes is not written down. It is sent all the same, and the claim gets the event
//! `RequestNotWrittenDown` once.
//!
//! `Differs:` ours leaks too with `--volume-intents=false`, if the service account may not get, list, create and update Leases, if an
//! admission policy or webhook denies them, and if the API server has failed at each write of them for five minutes. One log line
//! says so, and a minute later it is tried again.
//!
//! `Differs:` requests in a Lease that was restored from a backup, or that nobody has written to for 30 days, are not sent. One log
//! line tells of each such Lease, which stays until somebody deletes it. Velero leaves these Leases out.
//!
//! `Differs:` whoever may write Leases in the namespace of leader election can have volumes made, so it must be as trusted as
//! csi-provisioner; what a volume of such a request is filled from is checked before a claim gets it, while the source is there.
//! Whoever may read them sees the parameters of classes.
//!
//! `Differs:` the first Lease stays when it is empty, to be used again, also after csi-provisioner is uninstalled; not with
//! `--node-deployment`. Without the right to delete Leases all stay. Those of nodes that are gone stay if they hold requests. Remove
//! those of a driver then, with `kubectl delete lease --namespace <namespace> --selector mooring.dev/driver=<driver>`;
//! `kubectl get` lists them with the same options. All Leases of intents bear the label
//! `app.kubernetes.io/managed-by=mooring-csi-provisioner`.

pub(crate) mod book;
mod elsewhere;
pub(crate) mod entry;
mod gone;
pub(crate) mod log;
mod origin;
pub(crate) mod place;
mod read;
mod refused;
mod rest;
mod state;
mod terms;

pub(crate) use elsewhere::patience;
