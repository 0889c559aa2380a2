//! HTTPS as a client of the sidecars' pages speaks it.

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "it serves tests, and what it cannot do fails them"
)]

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::page;

/// Writes `tls.crt` and `tls.key`, a new certificate for `localhost`. Gives what a client must trust.
pub fn write_certificate(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    std::fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).expect("written");
    std::fs::write(folder.join("tls.crt"), made.cert.pem()).expect("written");
    made.cert.der().clone()
}

/// What a server on this port answers, if its certificate is the one that is trusted.
///
/// # Errors
/// It does not listen, or has another certificate.
pub async fn answer(
    port: u16,
    path: &str,
    token: &str,
    trusted: &CertificateDer<'static>,
) -> io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).map_err(io::Error::other)?;
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let authorization =
        if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}Connection: close\r\n\r\n");
    page::ask(stream, &request).await
}
