//! Structures of librbd that cross the border.

use std::ffi::{c_char, c_int};

/// Mirrors `rbd_linked_image_spec_t`.
#[repr(C)]
#[derive(Debug)]
pub(super) struct LinkedImage {
    pub(super) pool_id: i64,
    pub(super) pool_name: *mut c_char,
    pub(super) pool_namespace: *mut c_char,
    pub(super) image_id: *mut c_char,
    pub(super) image_name: *mut c_char,
    pub(super) trash: bool,
}

/// Mirrors `rbd_snap_spec_t`.
#[repr(C)]
#[derive(Debug)]
pub(super) struct SnapSpec {
    pub(super) id: u64,
    pub(super) namespace: i32,
    pub(super) name: *mut c_char,
}

/// Mirrors `rbd_snap_info_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct SnapInfo {
    pub(super) id: u64,
    pub(super) size: u64,
    pub(super) name: *const c_char,
}

/// Mirrors `rbd_image_watcher_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct Watcher {
    pub(super) address: *mut c_char,
    pub(super) id: i64,
    pub(super) cookie: u64,
}

/// Mirrors `rbd_trash_image_info_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct TrashEntry {
    pub(super) id: *mut c_char,
    pub(super) name: *mut c_char,
    pub(super) source: c_int,
    pub(super) deleted: i64,
    pub(super) kept_until: i64,
}

const _: () = assert!(size_of::<LinkedImage>() == 48 && size_of::<SnapSpec>() == 24);
const _: () = assert!(size_of::<SnapInfo>() == 24);
const _: () = assert!(size_of::<Watcher>() == 24 && size_of::<TrashEntry>() == 40);
