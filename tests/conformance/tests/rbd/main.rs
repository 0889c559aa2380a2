//! The driver for images, on a real Ceph: a volume's life, ceph-csi's images and journal, kills, outages.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod crash;
mod interchange;
mod life;
mod outage;
mod stand;
