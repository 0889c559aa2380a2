//! Where a CSI driver listens.

use std::fmt;
use std::path::{Path, PathBuf};

/// The longest Unix socket path, in bytes: the kernel's address holds 108 with the closing zero.
const MAX_SOCKET_PATH: usize = 107;

/// The address of a driver's socket, to dial or to listen on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A Unix socket at this path (relative ones to the working folder).
    Unix(PathBuf),
    /// A TCP port. An empty host is this host, when dialling and when listening.
    Tcp {
        /// Name or address, IPv6 without brackets.
        host: String,
        /// Port; 0 lets the system choose when listening.
        port: u16,
    },
}

/// Why a text is not an endpoint. The message names the text and the accepted forms.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Nothing, or a scheme with nothing behind it.
    #[error("endpoint {0:?} is empty: give a socket path, unix:///path/to/csi.sock or tcp://host:port")]
    Empty(String),
    /// A scheme other than unix and tcp, or none and no leading slash.
    #[error(
        "endpoint {0:?} is not understood: give a socket path that begins with a slash, \
         unix:///path/to/csi.sock or tcp://host:port"
    )]
    Scheme(String),
    /// `unix://` with a host before the path.
    #[error("endpoint {0:?} has a host before the socket path: write unix:///path/to/csi.sock")]
    Authority(String),
    /// tcp without a usable port.
    #[error("endpoint {0:?} has no port between 0 and 65535: write tcp://host:port")]
    Port(String),
    /// A socket path the kernel cannot hold.
    #[error("endpoint {0:?}: a socket path may have at most {MAX_SOCKET_PATH} bytes")]
    TooLong(String),
}

impl Endpoint {
    /// Reads `/path`, `unix:///path`, `unix:path` or `tcp://host:port`.
    ///
    /// # Errors
    /// [`EndpointError`] for anything else, naming the forms that work.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        if text.starts_with('/') {
            return unix(text, text);
        }
        // Schemes are compared without case, as grpc-go and the hostpath driver do.
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(if text.is_empty() {
                EndpointError::Empty(text.to_owned())
            } else {
                EndpointError::Scheme(text.to_owned())
            });
        };
        match scheme.to_ascii_lowercase().as_str() {
            "unix" => match rest.strip_prefix("//") {
                Some(path) if path.starts_with('/') || path.is_empty() => unix(text, path),
                Some(_) => Err(EndpointError::Authority(text.to_owned())),
                None => unix(text, rest),
            },
            "tcp" => tcp(text, rest.strip_prefix("//").unwrap_or(rest)),
            _ => Err(EndpointError::Scheme(text.to_owned())),
        }
    }

    /// The socket path, if it is a Unix socket.
    pub fn socket_path(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Tcp { .. } => None,
        }
    }
}

fn unix(text: &str, path: &str) -> Result<Endpoint, EndpointError> {
    if path.is_empty() {
        Err(EndpointError::Empty(text.to_owned()))
    } else if path.len() > MAX_SOCKET_PATH {
        Err(EndpointError::TooLong(text.to_owned()))
    } else {
        Ok(Endpoint::Unix(PathBuf::from(path)))
    }
}

fn tcp(text: &str, address: &str) -> Result<Endpoint, EndpointError> {
    if address.is_empty() {
        return Err(EndpointError::Empty(text.to_owned()));
    }
    let port_error = || EndpointError::Port(text.to_owned());
    let (host, port) = address.rsplit_once(':').ok_or_else(port_error)?;
    let port = port.parse().map_err(|_| port_error())?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bare {
        None if host.contains([':', '[', ']', '/']) => Err(port_error()),
        _ => Ok(Endpoint::Tcp { host: bare.unwrap_or(host).to_owned(), port }),
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) if path.is_absolute() => write!(f, "unix://{}", path.display()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
        }
    }
}

impl std::str::FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_accepted_form() {
        let unix = |path: &str| Endpoint::Unix(PathBuf::from(path));
        let tcp = |host: &str, port| Endpoint::Tcp { host: host.to_owned(), port };
        for (text, expected) in [
            ("/run/csi/socket", unix("/run/csi/socket")),
            ("unix:///csi/csi.sock", unix("/csi/csi.sock")),
            ("UNIX:///csi/csi.sock", unix("/csi/csi.sock")),
            ("unix:/csi/csi.sock", unix("/csi/csi.sock")),
            ("unix:csi.sock", unix("csi.sock")),
            ("tcp://127.0.0.1:10000", tcp("127.0.0.1", 10000)),
            ("tcp://:10000", tcp("", 10000)),
            ("tcp://[::1]:80", tcp("::1", 80)),
            ("tcp:localhost:1", tcp("localhost", 1)),
        ] {
            assert_eq!(Endpoint::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn printed_form_reads_back() {
        for text in ["unix:///a/b", "unix:b", "tcp://h:1", "tcp://[::1]:2", "tcp://:3"] {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_everything_else_and_says_what_works() {
        for text in [
            "",
            "csi.sock",
            "unix://",
            "unix:",
            "unix://host/csi.sock",
            "tcp://",
            "tcp://host",
            "tcp://host:",
            "tcp://host:65536",
            "tcp://::1:80",
            "tcp://host/path:80",
            "dns:///host:80",
            "http://host:80",
        ] {
            let error = Endpoint::parse(text).unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
            assert!(error.contains("unix:///path") || error.contains("tcp://host:port"), "{error}");
        }
        let long = format!("/{}", "x".repeat(107));
        assert_eq!(Endpoint::parse(&long), Err(EndpointError::TooLong(long.clone())));
        assert!(Endpoint::parse(&long[..107]).is_ok());
    }
}
