//! Keys and the users they belong to, written by hand: `ceph-authtool` would take longer than all else.

use std::io::{self, Read as _};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::files::base64;

/// The keyring's name in the cluster's folder. The administrator's key is in it.
pub const KEYRING: &str = "keyring";

/// The user that a driver is given. It may do what the profile `rbd` allows, and no more.
pub const USER: &str = "csi";

/// A key: its kind (AES), when it was made, its length, and 16 random bytes; in base64.
pub(super) fn new_key() -> io::Result<String> {
    let mut secret = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut secret)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = u32::try_from(now.as_secs()).unwrap_or(0);
    let mut key = Vec::with_capacity(28);
    key.extend(1_u16.to_le_bytes());
    key.extend(seconds.to_le_bytes());
    key.extend(now.subsec_nanos().to_le_bytes());
    key.extend(16_u16.to_le_bytes());
    key.extend(secret);
    Ok(base64(&key))
}

/// The first keyring of a cluster. The monitor takes every user over from it.
pub(super) fn text(driver: &str, others: &str) -> String {
    let entry = |name: &str, key: &str, caps: &[(&str, &str)]| {
        let caps: String = caps.iter().map(|(of, cap)| format!("\tcaps {of} = \"{cap}\"\n")).collect();
        format!("[{name}]\n\tkey = {key}\n{caps}")
    };
    [
        entry("mon.", others, &[("mon", "allow *")]),
        entry("client.admin", others, &[("mon", "allow *"), ("osd", "allow *"), ("mgr", "allow *")]),
        entry("osd.0", others, &[("mon", "allow profile osd"), ("osd", "allow *")]),
        entry(
            &format!("client.{USER}"),
            driver,
            &[("mon", "profile rbd"), ("osd", "profile rbd"), ("mgr", "profile rbd")],
        ),
    ]
    .concat()
}
