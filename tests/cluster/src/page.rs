//! Pages of programs on this machine, asked for as plainly as it goes.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The whole answer to a GET of this path on 127.0.0.1, head included.
///
/// # Errors
/// Nobody listens, or the answer is cut off.
pub async fn get(port: u16, path: &str) -> io::Result<String> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    ask(stream, &format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")).await
}

/// Everything that is answered to a request.
///
/// # Errors
/// The connection's; the answer is no text.
pub(crate) async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
) -> io::Result<String> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
