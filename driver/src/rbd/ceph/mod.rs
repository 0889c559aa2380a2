//! librados and librbd: what the driver needs of them, safely. The only unsafe code beside `sys`.
//!
//! The libraries are loaded when the first driver for Ceph starts, so that nobody else needs them. They cannot be
//! loaded into a static executable ([`Library::load`] says so).
//!
//! Every call blocks, and none for longer than the time that [`Settings::patience`] gives each request to Ceph: a
//! monitor or an OSD that does not answer gives ETIMEDOUT. Errors are Ceph's numbers, which are the system's.
//!
//! # Why this is sound
//! - A symbol's type is written beside its name, once, in `library.rs`, as Ceph's headers have had it since 15.2.
//! - A handle has one owner, which frees it: [`Cluster`], [`Pool`], [`Image`]. A pool holds its cluster, an image its pool, so
//!   that none is freed before what was made from it.
//! - Ceph's handles may be used by several threads at once, except that an image is ours alone here.
//! - Strings go in as C strings that outlive the call. Memory that Ceph gives is copied, and freed by its own function.
#![allow(unsafe_code)]

mod cluster;
mod image;
mod layout;
mod library;
mod omap;
mod options;
mod pool;

use std::ffi::{CStr, CString, c_char};
use std::io;

pub(crate) use cluster::{Cluster, Settings};
pub(crate) use image::Image;
pub(crate) use library::Library;
pub use library::LoadError;
pub(crate) use omap::Map;
pub(crate) use options::ImageOptions;
pub(crate) use pool::{Pool, Trashed};

/// Turns a result of Ceph, which is negative for an error, into ours.
fn checked(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result) }
}

/// As [`checked`], for what has 64 bits.
fn checked_id(result: i64) -> io::Result<i64> {
    match i32::try_from(result) {
        Ok(small) if small < 0 => Err(io::Error::from_raw_os_error(small.saturating_neg())),
        _ => Ok(result),
    }
}

/// A C string; text with a zero byte is refused as invalid.
fn c_string(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Copies a C string; empty for none.
///
/// # Safety
/// `text` is null, or ends with a zero byte and is not changed meanwhile.
unsafe fn copied(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// Whether an error of Ceph has this number.
pub(crate) fn is(error: &io::Error, number: rustix::io::Errno) -> bool {
    error.raw_os_error() == Some(number.raw_os_error())
}

/// An absent thing as none.
pub(crate) fn found<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if is(&error, rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Success where the thing is absent already.
pub(crate) fn gone(outcome: io::Result<()>) -> io::Result<()> {
    found(outcome).map(|_| ())
}
