use std::io;

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpListener;
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
    let dial = tower::service_fn(|_: Uri| {
        async {
            let (ours, mut server) = tokio::io::duplex(1 << 16);
            tokio::spawn(async move {
                let hello = b"\0\0\0\x04\0\0\0\0\0";
                server.write_all(hello).await?;
                server.read_to_end(&mut Vec::new()).await
            });
            Ok::<_, io::Error>(Pipe(TokioIo::new(ours)))
        }
        .boxed()
    });
    let ping = Duration::from_secs(30);
    let client: HttpClient<_, Body> = connections(ping).http2_only(true).build(dial);
    let begun = Instant::now();
    let asked = http::Request::get("http://api/").body(Body::empty()).unwrap();
    let answer = tokio::time::timeout(10 * ping, client.request(asked));
    answer.await.expect("given up").unwrap_err();
    assert_eq!(begun.elapsed().as_secs(), (ping + ping / 2).as_secs());
}

/// A server whose machine is gone, and HTTP/1.1, which has no pings: the operating system asks.
#[tokio::test]
async fn connections_are_asked_whether_they_still_live() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let to = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let stream = direct(Duration::from_secs(30)).call(to).await.unwrap().into_inner();
    assert!(rustix::net::sockopt::socket_keepalive(&stream).unwrap());
    assert_eq!(rustix::net::sockopt::tcp_keepidle(&stream).unwrap(), TCP_KEEPALIVE);
    assert_eq!(rustix::net::sockopt::tcp_keepintvl(&stream).unwrap(), TCP_KEEPALIVE / 3);
}

#[tokio::test]
async fn the_server_name_of_the_kubeconfig_is_not_ignored() {
    let made = |name: Option<&str>| {
        let mut config = kube::Config::new(Uri::from_static("https://127.0.0.1:6443"));
        config.tls_server_name = name.map(str::to_owned);
        transport(&config, None, Duration::from_secs(30)).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!((made(None), made(Some("kubernetes.default"))), (Ok(()), Ok(())));
    let error = made(Some("no host name")).unwrap_err();
    assert!(error.contains("tls-server-name \"no host name\""), "{error}");
}

#[test]
fn kubeconfig_names_a_proxy_that_http_reaches() {
    let server = Uri::from_static("https://10.0.0.1:6443");
    let (proxy, auth) =
        proxy_for(&server, Some("http://user:word@proxy:3128"), Matcher::from_env).unwrap().unwrap();
    assert_eq!((proxy.host(), proxy.port_u16(), auth.is_some()), (Some("proxy"), Some(3128), true));
    for unusable in ["socks5://proxy:1080", "https://proxy:3128", "http://"] {
        let error = proxy_for(&server, Some(unusable), Matcher::from_env).unwrap_err().to_string();
        assert!(error.contains("proxy") && error.contains("http://host:port"), "{unusable}: {error}");
    }
}

#[test]
fn servers_on_this_machine_are_reached_without_the_proxy() {
    let way = |server: &'static str, kubeconfig| {
        let environment = || Matcher::builder().all("http://192.0.2.10:3128").build();
        proxy_for(&Uri::from_static(server), kubeconfig, environment).unwrap()
    };
    for server in
        ["https://127.0.0.1:6443", "https://127.9.9.9", "https://[::1]:6443", "https://localhost:6443"]
    {
        assert_eq!(way(server, None), None, "{server}");
        assert!(way(server, Some("http://proxy:3128")).is_some(), "{server}");
    }
    for server in ["https://10.96.0.1", "https://[fd00::1]", "https://localhost.example:6443"] {
        assert!(way(server, None).is_some(), "{server}");
    }
}
