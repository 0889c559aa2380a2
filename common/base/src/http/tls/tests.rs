//! A real listener, a real client, and files that change.

use std::path::Path;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::super::{Access, Reply, Routes, Server, serve_with};
use super::*;

/// Writes a new certificate of its own for `localhost`, and gives what a client must trust.
fn write(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("tls.crt"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

fn load(folder: &Path) -> Result<Tls, TlsError> {
    let path = |name: &str| folder.join(name).display().to_string();
    Tls::load(&path("tls.crt"), &path("tls.key"))
}

async fn ask(server: &Server, trusted: &CertificateDer<'static>) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", server.local_address().port())).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn changed_certificate_is_used_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let first = write(folder.path());
    let tls = Arc::new(load(folder.path()).unwrap());
    let access = Access { tls: Some(tls.clone()), guard: None };
    let routes = Routes::new().route("/healthz", || async { Reply::ok() });
    let server = serve_with("127.0.0.1:0", routes, access).unwrap();
    assert!(ask(&server, &first).await.unwrap().ends_with("\r\n\r\nok"));

    let look_again = || tls.state.lock().unwrap().looked -= LOOK;
    let second = write(folder.path());
    assert!(ask(&server, &first).await.is_ok(), "the last look is not ten seconds old");
    look_again();
    assert!(ask(&server, &second).await.unwrap().starts_with("HTTP/1.1 200 OK"));
    assert!(ask(&server, &first).await.is_err(), "the client does not trust the new one");

    std::fs::write(folder.path().join("tls.key"), "half a k").unwrap();
    look_again();
    assert!(ask(&server, &second).await.is_ok(), "the one before stays");
    let third = write(folder.path());
    look_again();
    assert!(ask(&server, &third).await.is_ok());
}

#[tokio::test]
async fn plain_request_to_a_tls_port_gets_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let access = Access { tls: Some(Arc::new(load(folder.path()).unwrap())), guard: None };
    let routes = Routes::new().route("/healthz", || async { Reply::ok() });
    let server = serve_with("127.0.0.1:0", routes, access).unwrap();
    let mut stream = TcpStream::connect(server.local_address()).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains("200"), "{answer:?}");
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = |folder: &Path| load(folder).map(drop).unwrap_err().to_string();
    assert!(error(folder.path()).contains("tls.crt: No such file"), "{}", error(folder.path()));
    write(folder.path());
    let key = std::fs::read(folder.path().join("tls.key")).unwrap();
    std::fs::write(folder.path().join("tls.key"), "").unwrap();
    assert!(error(folder.path()).ends_with("tls.key holds no private key in PEM form"));
    write(folder.path());
    let good_key = std::fs::read(folder.path().join("tls.key")).unwrap();
    std::fs::write(folder.path().join("tls.key"), key).unwrap();
    assert!(error(folder.path()).contains("cannot be used"), "the key of another certificate");
    let good = std::fs::read_to_string(folder.path().join("tls.crt")).unwrap();
    for damaged in
        ["-----BEGIN CERTIFICATE-----\n#\n-----END CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\nMII"]
    {
        std::fs::write(folder.path().join("tls.crt"), format!("{good}{damaged}")).unwrap();
        std::fs::write(folder.path().join("tls.key"), &good_key).unwrap();
        let error = error(folder.path());
        assert!(error.contains("tls.crt") && error.contains("is damaged"), "{error}");
    }
    std::fs::write(folder.path().join("tls.crt"), "").unwrap();
    assert!(error(folder.path()).ends_with("tls.crt holds no certificate in PEM form"));
}
