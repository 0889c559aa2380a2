use std::io;

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::Instant;

use super::*;

/// A connection to a server within the test.
struct Pipe(TokioIo<DuplexStream>);

impl Connection for Pipe {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl hyper::rt::Write for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A server whose machine is gone: it says hello, and nothing more.
#[tokio::test(start_paused = true)]
async fn connection_whose_pings_are_not_answered_is_given_up() {
    let dial = tower::service_fn(|_: Uri| async {
        let (ours, mut server) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move {
            let hello = b"\0\0\0\x04\0\0\0\0\0";
            server.write_all(hello).await?;
            server.read_to_end(&mut Vec::new()).await
        });
        Ok::<_, io::Error>(Pipe(TokioIo::new(ours)))
    });
    let ping = Duration::from_secs(30);
    let client: HttpClient<_, Body> = connections(ping).http2_only(true).build(dial);
    let begun = Instant::now();
    let asked = http::Request::get("http://api/").body(Body::empty()).unwrap();
    let answer = tokio::time::timeout(10 * ping, client.request(asked));
    answer.await.expect("given up").unwrap_err();
    assert_eq!(begun.elapsed().as_secs(), (ping + ping / 2).as_secs());
}

#[test]
fn kubeconfig_names_a_proxy_that_http_reaches() {
    let server = Uri::from_static("https://10.0.0.1:6443");
    let (proxy, auth) = proxy_for(&server, Some("http://user:word@proxy:3128")).unwrap().unwrap();
    assert_eq!((proxy.host(), proxy.port_u16(), auth.is_some()), (Some("proxy"), Some(3128), true));
    for unusable in ["socks5://proxy:1080", "https://proxy:3128", "http://"] {
        let error = proxy_for(&server, Some(unusable)).unwrap_err().to_string();
        assert!(error.contains("proxy") && error.contains("http://host:port"), "{unusable}: {error}");
    }
}
