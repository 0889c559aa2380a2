//! The ways to map images, one of each.

use std::path::PathBuf;
use std::time::Duration;

use super::command::System;
use super::fuse::Fuse;
use super::mapper::{Kind, Mapper};
use super::rbd_command::{DeviceType, RbdCommand};

/// All ways.
#[derive(Debug)]
pub(crate) struct Mappers {
    krbd: RbdCommand,
    nbd: RbdCommand,
    fuse: Fuse,
}

impl Mappers {
    /// `patience` is the longest that mapping may take, `folder` where rbd-fuse mounts.
    pub(crate) fn new(patience: Duration, folder: PathBuf) -> Self {
        let command = |kind| RbdCommand::new(kind, Box::new(System { patience }));
        Self {
            krbd: command(DeviceType::Krbd),
            nbd: command(DeviceType::Nbd),
            fuse: Fuse { folder, patience },
        }
    }

    pub(super) fn of(&self, kind: Kind) -> &dyn Mapper {
        match kind {
            Kind::Krbd => &self.krbd,
            Kind::Nbd => &self.nbd,
            Kind::Fuse => &self.fuse,
        }
    }
}
