//! A connection to a cluster.

use std::ffi::{CString, c_char};
use std::io;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use base::secret::SecretValue;

use super::library::{Library, Raw};
use super::{c_string, checked, checked_id, copied};

/// The longest pool name that is understood.
const MAX_NAME: usize = 512;
/// Room for a cluster's id, which is a UUID.
const MAX_ID: usize = 64;

/// Where a cluster is, who asks, and how long for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Addresses by comma, as `mon_host` has them.
    pub(crate) monitors: String,
    /// The user, without `client.`.
    pub(crate) user: String,
    /// The user's key.
    pub(crate) key: SecretValue,
    /// The longest that one request may take, to the monitor, to an OSD, and for connecting.
    pub(crate) patience: Duration,
}

/// A connection; closed when the last pool and image made from it are gone.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(super) library: &'static Library,
    pub(super) raw: Raw,
}

// SAFETY: a `rados_t` may be used by several threads at once (librados.h, "thread safe"), and it is freed once, by its owner.
unsafe impl Send for Cluster {}
// SAFETY: as above.
unsafe impl Sync for Cluster {}

impl Cluster {
    /// Connects. No file of the machine is read, neither a configuration nor a keyring.
    ///
    /// # Errors
    /// ETIMEDOUT when no monitor answers in time; EACCES or EPERM when the user or its key are wrong.
    pub(crate) fn connect(library: &'static Library, settings: &Settings) -> io::Result<Arc<Self>> {
        let user = c_string(&settings.user)?;
        let mut raw = ptr::null_mut();
        // SAFETY: `raw` is written on success; `user` outlives the call.
        checked(unsafe { (library.rados_create)(&raw mut raw, user.as_ptr()) })?;
        let cluster = Self { library, raw };
        let patience = settings.patience.as_secs().max(1).to_string();
        for (option, value) in [
            ("mon_host", settings.monitors.as_str()),
            ("key", settings.key.expose()),
            ("rados_mon_op_timeout", &patience),
            ("rados_osd_op_timeout", &patience),
            ("client_mount_timeout", &patience),
            // An image whose snapshots live on in clones goes to the trash and, with the last of them, for good.
            ("rbd_move_parent_to_trash_on_remove", "true"),
            // Clones of snapshots that are not protected.
            ("rbd_default_clone_format", "2"),
            ("log_to_stderr", "false"),
            ("err_to_stderr", "false"),
            ("log_file", ""),
        ] {
            let (name, value) = (c_string(option)?, c_string(value)?);
            // SAFETY: the cluster is ours and not connected; both strings outlive the call.
            checked(unsafe { (library.rados_conf_set)(cluster.raw, name.as_ptr(), value.as_ptr()) })?;
        }
        // SAFETY: the cluster is ours.
        checked(unsafe { (library.rados_connect)(cluster.raw) })?;
        Ok(Arc::new(cluster))
    }

    /// The client's address, as Ceph's list of watchers and its block list have it; empty if it cannot be told.
    pub(crate) fn address(&self) -> String {
        let mut text = ptr::null_mut();
        // SAFETY: the cluster is connected; on success a C string is written, which is ours: it is copied and freed, once.
        unsafe {
            if (self.library.rados_getaddrs)(self.raw, &raw mut text) < 0 || text.is_null() {
                return String::new();
            }
            let address = copied(text);
            (self.library.rados_buffer_free)(text);
            address
        }
    }

    /// The cluster's own id (`fsid`), a UUID.
    ///
    /// # Errors
    /// Ceph's.
    pub(crate) fn fsid(&self) -> io::Result<String> {
        let mut id: [c_char; MAX_ID] = [0; MAX_ID];
        // SAFETY: the cluster is connected; at most as many bytes as are given are written, the last one zero.
        unsafe {
            checked((self.library.rados_cluster_fsid)(self.raw, id.as_mut_ptr(), MAX_ID))?;
            Ok(copied(id.as_ptr()))
        }
    }

    /// The id of a pool by its name, from the newest map.
    ///
    /// # Errors
    /// ENOENT.
    pub(crate) fn pool_id(&self, name: &str) -> io::Result<i64> {
        let name = c_string(name)?;
        // SAFETY: the string outlives the call.
        let look = || checked_id(unsafe { (self.library.rados_pool_lookup)(self.raw, name.as_ptr()) });
        match look() {
            Err(error) if super::is(&error, rustix::io::Errno::NOENT) => {
                // It may just have been made.
                // SAFETY: the cluster is connected.
                checked(unsafe { (self.library.rados_wait_for_latest_osdmap)(self.raw) })?;
                look()
            }
            outcome => outcome,
        }
    }

    /// The name of a pool by its id.
    ///
    /// # Errors
    /// ENOENT.
    pub(crate) fn pool_name(&self, id: i64) -> io::Result<String> {
        let mut name: [c_char; MAX_NAME] = [0; MAX_NAME];
        // SAFETY: at most as many bytes as are given are written, the last one zero; so there is a C string.
        unsafe {
            let written = (self.library.rados_pool_reverse_lookup)(self.raw, id, name.as_mut_ptr(), MAX_NAME);
            checked(written)?;
            Ok(copied(name.as_ptr()))
        }
    }

    /// The names of all pools.
    ///
    /// # Errors
    /// Ceph's.
    pub(crate) fn pool_names(&self) -> io::Result<Vec<String>> {
        let mut room = 16 * 1024;
        loop {
            let mut names: Vec<u8> = vec![0; room];
            // SAFETY: at most `room` bytes are written.
            let needed = unsafe { (self.library.rados_pool_list)(self.raw, names.as_mut_ptr().cast(), room) };
            let needed = usize::try_from(checked(needed)?).unwrap_or(0);
            if needed > room {
                room = needed;
                continue;
            }
            // Names that end with a zero byte each, and an empty one.
            let texts = names.split(|byte| *byte == 0).take_while(|name| !name.is_empty());
            return Ok(texts.map(|name| String::from_utf8_lossy(name).into_owned()).collect());
        }
    }

    /// Asks the monitors; command and answer are JSON.
    ///
    /// # Errors
    /// Ceph's, with what the monitor says.
    pub(crate) fn ask(&self, command: &str) -> io::Result<Vec<u8>> {
        let command: CString = c_string(command)?;
        let mut commands = [command.as_ptr()];
        let (mut answer, mut length) = (ptr::null_mut(), 0);
        let (mut said, mut said_length) = (ptr::null_mut(), 0);
        // SAFETY: the command outlives the call; the four results are written.
        let outcome = unsafe {
            (self.library.rados_mon_command)(
                self.raw,
                commands.as_mut_ptr(),
                1,
                ptr::null(),
                0,
                &raw mut answer,
                &raw mut length,
                &raw mut said,
                &raw mut said_length,
            )
        };
        let take = |text: *mut c_char, length: usize| {
            if text.is_null() {
                return Vec::new();
            }
            // SAFETY: Ceph gave this many bytes, which are ours until they are freed, here and once.
            unsafe {
                let bytes = std::slice::from_raw_parts(text.cast::<u8>(), length).to_vec();
                (self.library.rados_buffer_free)(text);
                bytes
            }
        };
        let (answer, said) = (take(answer, length), take(said, said_length));
        if outcome < 0 {
            base::v!(4, "The monitor refuses"; "errno" => -outcome, "says" => String::from_utf8_lossy(&said));
        }
        checked(outcome).map(|_| answer)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // SAFETY: nothing made from it is left, for all of that holds it; it is freed once.
        unsafe { (self.library.rados_shutdown)(self.raw) };
    }
}
