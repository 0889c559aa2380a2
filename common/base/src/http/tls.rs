//! TLS for the HTTP server, with certificates that change while it runs.
//!
//! The files are looked at when a connection comes and the last look is ten seconds old. So nothing runs while nobody asks.
//! If the new files cannot be used, as while they are being replaced, the certificate stays as it is.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

/// How old the last look at the files may be.
const LOOK: Duration = Duration::from_secs(10);

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The certificate's file holds none.
    #[error("{path} holds no certificate in PEM form")]
    Certificate {
        /// The file.
        path: String,
    },
    /// A certificate of the chain cannot be read.
    #[error("{path} is damaged: {cause}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The key's file holds none.
    #[error("{path} holds no private key in PEM form")]
    Key {
        /// The file.
        path: String,
    },
    /// They do not belong together, or are of a kind that is not known.
    #[error("the certificate and the private key cannot be used: {0}")]
    Pair(tokio_rustls::rustls::Error),
}

/// What the files of the certificate and of its key hold.
type Files = [Vec<u8>; 2];

/// A certificate, its key, and where they are.
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    state: Mutex<State>,
}

struct State {
    looked: Instant,
    /// What the files held when they were read last.
    files: Files,
    acceptor: TlsAcceptor,
}

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn load(certificate: &str, key: &str) -> Result<Self, TlsError> {
        let (certificate, key) = (PathBuf::from(certificate), PathBuf::from(key));
        let files = read(&certificate, &key)?;
        let acceptor = acceptor(&files, &certificate, &key)?;
        let state = Mutex::new(State { looked: Instant::now(), files, acceptor });
        Ok(Self { certificate, key, state })
    }

    /// Shakes hands.
    pub(super) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let acceptor = self.current();
        acceptor.accept(stream).await
    }

    fn current(&self) -> TlsAcceptor {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= LOOK {
            state.looked = Instant::now();
            match self.renewed(&state.files) {
                Ok(Some((files, acceptor))) => {
                    crate::info!("Using a new certificate"; "file" => self.certificate.display());
                    (state.files, state.acceptor) = (files, acceptor);
                }
                Ok(None) => {}
                Err(error) => {
                    crate::warn!("Cannot use the new certificate, keeping the one before"; "err" => error)
                }
            }
        }
        state.acceptor.clone()
    }

    /// What is new in the files, if anything is.
    fn renewed(&self, known: &Files) -> Result<Option<(Files, TlsAcceptor)>, TlsError> {
        let files = read(&self.certificate, &self.key)?;
        if files == *known {
            return Ok(None);
        }
        let acceptor = acceptor(&files, &self.certificate, &self.key)?;
        Ok(Some((files, acceptor)))
    }
}

fn read(certificate: &PathBuf, key: &PathBuf) -> Result<Files, TlsError> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|source| TlsError::Read { path: path.display().to_string(), source })
    };
    Ok([read(certificate)?, read(key)?])
}

fn acceptor(
    [certificate, key]: &Files,
    certificate_path: &PathBuf,
    key_path: &PathBuf,
) -> Result<TlsAcceptor, TlsError> {
    let path = |path: &PathBuf| path.display().to_string();
    let chain: Result<Vec<CertificateDer<'static>>, _> =
        CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain
        .map_err(|cause| TlsError::Damaged { path: path(certificate_path), cause: cause.to_string() })?;
    if chain.is_empty() {
        return Err(TlsError::Certificate { path: path(certificate_path) });
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Key { path: path(key_path) })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests;
