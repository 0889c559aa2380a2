//! How an image is to be made.

use std::io;
use std::ptr;

use super::library::{Library, Raw};
use super::{c_string, checked};

/// How an image is to be made (`RBD_IMAGE_OPTION_*`); what is none is left to Ceph.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ImageOptions {
    /// Bits of features.
    pub(crate) features: Option<u64>,
    /// The size of objects, as a power of two.
    pub(crate) order: Option<u64>,
    /// Bytes and number of stripes.
    pub(crate) stripes: Option<(u64, u64)>,
    /// Another pool for the data.
    pub(crate) data_pool: Option<String>,
}

/// Options in Ceph's memory.
pub(super) struct RawOptions {
    library: &'static Library,
    pub(super) raw: Raw,
}

impl ImageOptions {
    pub(super) fn raw(&self, library: &'static Library) -> io::Result<RawOptions> {
        const FEATURES: i32 = 1;
        const ORDER: i32 = 2;
        const STRIPE_UNIT: i32 = 3;
        const STRIPE_COUNT: i32 = 4;
        const DATA_POOL: i32 = 10;
        let mut options = RawOptions { library, raw: ptr::null_mut() };
        // SAFETY: the pointer is written; it is freed once, when `options` is dropped.
        unsafe { (library.rbd_image_options_create)(&raw mut options.raw) };
        let numbers = [
            (FEATURES, self.features),
            (ORDER, self.order),
            (STRIPE_UNIT, self.stripes.map(|(unit, _)| unit)),
            (STRIPE_COUNT, self.stripes.map(|(_, count)| count)),
        ];
        for (option, value) in numbers {
            if let Some(value) = value {
                // SAFETY: the options are alive.
                checked(unsafe { (library.rbd_image_options_set_uint64)(options.raw, option, value) })?;
            }
        }
        if let Some(pool) = &self.data_pool {
            let pool = c_string(pool)?;
            // SAFETY: the options are alive, and the string is copied by the call.
            checked(unsafe {
                (library.rbd_image_options_set_string)(options.raw, DATA_POOL, pool.as_ptr())
            })?;
        }
        Ok(options)
    }
}

impl Drop for RawOptions {
    fn drop(&mut self) {
        // SAFETY: made by rbd_image_options_create, freed once.
        unsafe { (self.library.rbd_image_options_destroy)(self.raw) };
    }
}
