//! The HTTP endpoint beside a registration. A certificate that cannot be used bars no driver from its node: the endpoint begins once the
//! certificate can be used, and the driver is registered meanwhile.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use base::flag::TlsFlags;
use base::http::{ListenError, Routes, serve_with};
use tokio::time::sleep;

/// Pause before a certificate that cannot be used is read again.
const AGAIN: Duration = Duration::from_secs(10);

/// Serves for ever at this address.
///
/// # Errors
/// It cannot listen there.
pub(crate) async fn serve(address: &str, routes: Routes, tls: &TlsFlags) -> Result<Infallible, ListenError> {
    let mut told = false;
    loop {
        match tls.access() {
            Ok(access) => {
                let _server = serve_with(address, routes, access)?;
                return pending().await;
            }
            Err(error) if !told => {
                let problem = format!("--tls-cert-file: {error}");
                base::error!(problem, "The HTTP endpoint cannot begin; will try again"; "address" => address);
                told = true;
            }
            Err(_) => {}
        }
        sleep(AGAIN).await;
    }
}
