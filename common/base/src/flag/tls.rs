//! The flags of a certificate for the HTTP endpoint, those on a node included.
//!
//! `Differs:` `--tls-cert-file` and `--tls-private-key-file`, called as in kube-rbac-proxy, which the Go sidecars need beside them for it:
//! the HTTP endpoint serves HTTPS. csi-node-driver-registrar, livenessprobe and `mooring node` have them, too.

use std::sync::Arc;

use super::{Exit, Parsed};
use crate::http::{Access, Tls, TlsError};

crate::flags! {
    /// Certificate and private key of the HTTP server: both or none.
    pub struct TlsFlags {
        "tls-cert-file" certificate: String = "", "Certificate (PEM, with its chain) with which http-endpoint is served by TLS. It may change while the process runs. Empty: no TLS.";
        "tls-private-key-file" key: String = "", "Private key (PEM) of tls-cert-file.";
    }
}

impl TlsFlags {
    /// Whether there is a certificate.
    pub fn is_set(&self) -> bool {
        !self.certificate.is_empty()
    }

    /// Refuses half a pair of files, and a certificate that nobody would see.
    ///
    /// # Errors
    /// They are that.
    pub fn check(parsed: &Parsed, has_address: bool) -> Result<(), Exit> {
        let Self { certificate, key } = parsed.read();
        match (certificate.as_str(), key.as_str()) {
            ("", "") => Ok(()),
            ("", _) => Err(Exit::refuse("--tls-private-key-file needs --tls-cert-file")),
            (_, "") => Err(Exit::refuse("--tls-cert-file needs --tls-private-key-file")),
            (_, _) if !has_address => {
                Err(Exit::refuse("--tls-cert-file needs an address to be used at: set --http-endpoint"))
            }
            (_, _) => Ok(()),
        }
    }

    /// The server as it is reached with them, by everybody. Reads the files.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn access(&self) -> Result<Access, TlsError> {
        let tls = self.is_set().then(|| Tls::load(&self.certificate, &self.key)).transpose()?;
        Ok(Access { tls: tls.map(Arc::new), guard: None })
    }
}
