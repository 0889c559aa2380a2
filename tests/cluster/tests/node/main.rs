//! Pods that use our volumes on a real node: kubelet, containerd, our images, our manifests applied by kubectl.
//!
//! One node for all tests of this program, with two drivers of ours: `hostpath.csi.k8s.io` as Deployment and DaemonSet, and
//! `com.example.team.csi-driver` as a StatefulSet. A test that disturbs the node has it for itself.

#![allow(clippy::panic, clippy::indexing_slicing)]

mod access;
mod chart;
mod disturbed;
mod examples;
mod growth;
mod guest;
mod kinds;
mod rbd;
mod site;
mod switched;
mod third_party;
mod trace;
