//! The in-tree plugins, one file each.

mod aws_ebs;
mod azure_disk;
mod azure_file;
mod cinder;
mod gce_pd;
mod portworx;
mod rbd;
mod vsphere;

pub(crate) use aws_ebs::AwsEbs;
pub(crate) use azure_disk::AzureDisk;
pub(crate) use azure_file::AzureFile;
pub(crate) use cinder::Cinder;
pub(crate) use gce_pd::GcePd;
pub(crate) use portworx::Portworx;
pub(crate) use rbd::Rbd;
pub(crate) use vsphere::Vsphere;
