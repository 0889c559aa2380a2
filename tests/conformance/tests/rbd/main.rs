//! The driver for images, on a real Ceph: csi-sanity, a volume's life with and without mounts, ceph-csi's
//! images and journal, kills, outages.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod crash;
mod faults;
mod interchange;
mod life;
mod mounts;
mod outage;
mod pace;
mod patience;
mod places;
mod sanity;
mod stand;
mod steps;
