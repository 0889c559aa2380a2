//! Loading the libraries, and the table of their functions.

use std::ffi::{CStr, c_char, c_int, c_uchar, c_void};
use std::sync::OnceLock;

use super::layout::{LinkedImage, SnapInfo, SnapSpec, TrashEntry, Watcher};

/// `rados_t`, `rados_ioctx_t`, `rbd_image_t` and the others: all of them are pointers that only Ceph follows.
pub(super) type Raw = *mut c_void;
/// A string that Ceph reads.
type Text = *const c_char;
/// Who is told how far an operation is: done, of how many, and what the caller gave.
pub(super) type Progress = unsafe extern "C" fn(u64, u64, Raw) -> c_int;
/// Strings that Ceph reads.
type Texts = *const *const c_char;

/// The libraries are not there.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    /// A library is missing, or this executable cannot load any.
    #[error(
        "cannot load {library}: {reason}. The rbd backend needs Ceph's client libraries (Debian's librbd1 and librados2) \
         and a dynamically linked mooring-driver: a static one cannot load libraries"
    )]
    Library {
        /// The file.
        library: &'static str,
        /// The loader's reason.
        reason: String,
    },
    /// The library is too old.
    #[error("{library} has no function {symbol}: it is too old (Ceph 15.2 or newer is needed)")]
    Symbol {
        /// The file.
        library: &'static str,
        /// What it lacks.
        symbol: &'static str,
    },
}

/// Declares the table of functions and how it is filled.
macro_rules! functions {
    ($( $variable:ident = $file:literal { $( fn $name:ident ( $($argument:ty),* ) $(-> $answer:ty)?; )* } )*) => {
        /// The functions. The libraries are never unloaded, so that they stay good.
        #[derive(Debug)]
        pub(crate) struct Library {
            $($( pub(super) $name: unsafe extern "C" fn($($argument),*) $(-> $answer)?, )*)*
        }

        impl Library {
            fn fill() -> Result<Self, LoadError> {
                $( let $variable = open($file)?; )*
                Ok(Self { $($(
                    $name: {
                        let found = symbol($variable, $file, stringify!($name), concat!(stringify!($name), "\0"))?;
                        // SAFETY: the symbol is the function of this name, of the type that Ceph's headers give it. A
                        // pointer to a function has the size of a pointer.
                        unsafe { std::mem::transmute::<Raw, unsafe extern "C" fn($($argument),*) $(-> $answer)?>(found) }
                    },
                )*)* })
            }
        }
    };
}

functions! {
    rados = "librados.so.2" {
        fn rados_create(*mut Raw, Text) -> c_int;
        fn rados_conf_set(Raw, Text, Text) -> c_int;
        fn rados_connect(Raw) -> c_int;
        fn rados_shutdown(Raw);
        fn rados_cluster_fsid(Raw, *mut c_char, usize) -> c_int;
        fn rados_getaddrs(Raw, *mut *mut c_char) -> c_int;
        fn rados_mon_command(
            Raw, *mut Text, usize, Text, usize, *mut *mut c_char, *mut usize, *mut *mut c_char, *mut usize
        ) -> c_int;
        fn rados_buffer_free(*mut c_char);
        fn rados_wait_for_latest_osdmap(Raw) -> c_int;
        fn rados_pool_lookup(Raw, Text) -> i64;
        fn rados_pool_reverse_lookup(Raw, i64, *mut c_char, usize) -> c_int;
        fn rados_pool_list(Raw, *mut c_char, usize) -> c_int;
        fn rados_ioctx_create2(Raw, i64, *mut Raw) -> c_int;
        fn rados_ioctx_destroy(Raw);
        fn rados_ioctx_set_namespace(Raw, Text);
        fn rados_create_write_op() -> Raw;
        fn rados_release_write_op(Raw);
        fn rados_write_op_create(Raw, c_int, Text);
        fn rados_write_op_assert_exists(Raw);
        fn rados_write_op_omap_cmp(Raw, Text, u8, *const u8, usize, *mut c_int);
        fn rados_write_op_omap_set(Raw, Texts, Texts, *const usize, usize);
        fn rados_write_op_omap_rm_keys(Raw, Texts, usize);
        fn rados_write_op_operate(Raw, Raw, Text, *mut i64, c_int) -> c_int;
        fn rados_create_read_op() -> Raw;
        fn rados_release_read_op(Raw);
        fn rados_read_op_omap_get_vals2(Raw, Text, Text, u64, *mut Raw, *mut c_uchar, *mut c_int);
        fn rados_read_op_operate(Raw, Raw, Text, c_int) -> c_int;
        fn rados_omap_get_next(Raw, *mut *mut c_char, *mut *mut c_char, *mut usize) -> c_int;
        fn rados_omap_get_end(Raw);
        fn rados_remove(Raw, Text) -> c_int;
        fn rados_exec(Raw, Text, Text, Text, *const u8, usize, *mut u8, usize) -> c_int;
    }
    rbd = "librbd.so.1" {
        fn rbd_image_options_create(*mut Raw);
        fn rbd_image_options_destroy(Raw);
        fn rbd_image_options_set_string(Raw, c_int, Text) -> c_int;
        fn rbd_image_options_set_uint64(Raw, c_int, u64) -> c_int;
        fn rbd_create4(Raw, Text, u64, Raw) -> c_int;
        fn rbd_clone3(Raw, Text, Text, Raw, Text, Raw) -> c_int;
        fn rbd_remove(Raw, Text) -> c_int;
        fn rbd_trash_move(Raw, Text, u64) -> c_int;
        fn rbd_trash_remove(Raw, Text, bool) -> c_int;
        fn rbd_trash_list(Raw, *mut TrashEntry, *mut usize) -> c_int;
        fn rbd_trash_list_cleanup(*mut TrashEntry, usize);
        fn rbd_open(Raw, Text, *mut Raw, Text) -> c_int;
        fn rbd_open_read_only(Raw, Text, *mut Raw, Text) -> c_int;
        fn rbd_open_by_id_read_only(Raw, Text, *mut Raw, Text) -> c_int;
        fn rbd_close(Raw) -> c_int;
        fn rbd_get_size(Raw, *mut u64) -> c_int;
        fn rbd_get_id(Raw, *mut c_char, usize) -> c_int;
        fn rbd_get_create_timestamp(Raw, *mut libc::timespec) -> c_int;
        fn rbd_get_parent(Raw, *mut LinkedImage, *mut SnapSpec) -> c_int;
        fn rbd_linked_image_spec_cleanup(*mut LinkedImage);
        fn rbd_snap_spec_cleanup(*mut SnapSpec);
        fn rbd_watchers_list(Raw, *mut Watcher, *mut usize) -> c_int;
        fn rbd_watchers_list_cleanup(*mut Watcher, usize);
        fn rbd_resize2(Raw, u64, bool, Progress, Raw) -> c_int;
        fn rbd_snap_create(Raw, Text) -> c_int;
        fn rbd_snap_remove(Raw, Text) -> c_int;
        fn rbd_snap_list(Raw, *mut SnapInfo, *mut c_int) -> c_int;
        fn rbd_snap_list_end(*mut SnapInfo);
        fn rbd_snap_exists(Raw, Text, *mut bool) -> c_int;
        fn rbd_flatten(Raw) -> c_int;
        fn rbd_metadata_get(Raw, Text, *mut c_char, *mut usize) -> c_int;
    }
}

impl Library {
    /// The libraries, loaded by the first call. The same answer for the whole life of the process.
    ///
    /// # Errors
    /// [`LoadError`].
    pub(crate) fn load() -> Result<&'static Self, LoadError> {
        static LOADED: OnceLock<Result<Library, LoadError>> = OnceLock::new();
        LOADED.get_or_init(Self::fill).as_ref().map_err(Clone::clone)
    }
}

fn open(library: &'static str) -> Result<Raw, LoadError> {
    let file = std::ffi::CString::new(library).unwrap_or_default();
    // SAFETY: `file` ends with a zero byte and outlives the call. Loading runs the libraries' initialisers: Ceph's libraries
    // are made to be loaded at run time (Python's bindings do it).
    let handle = unsafe { libc::dlopen(file.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if handle.is_null() {
        return Err(LoadError::Library { library, reason: reason() });
    }
    Ok(handle)
}

/// What the loader says about its last failure on this thread.
fn reason() -> String {
    // SAFETY: dlerror gives null or a string that is good until the next call of the loader on this thread.
    unsafe { super::copied(libc::dlerror()) }
}

fn symbol(
    handle: Raw,
    library: &'static str,
    symbol: &'static str,
    name: &'static str,
) -> Result<Raw, LoadError> {
    let missing = LoadError::Symbol { library, symbol };
    let Ok(name) = CStr::from_bytes_with_nul(name.as_bytes()) else { return Err(missing) };
    // SAFETY: the handle is an open library's, and the name ends with a zero byte.
    let found = unsafe { libc::dlsym(handle, name.as_ptr()) };
    if found.is_null() { Err(missing) } else { Ok(found) }
}
