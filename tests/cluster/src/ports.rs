//! Free loopback ports.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// `N` different ports of 127.0.0.1 that nobody listens on.
///
/// Somebody else may take one before our child does: whoever starts the child looks for that in its log and tries again.
///
/// # Errors
/// No free port is left.
pub(crate) fn free<const N: usize>() -> io::Result<[u16; N]> {
    let mut listeners = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        // Held until all are chosen, so that no two are the same.
        listeners.push(listener);
    }
    Ok(ports)
}
