//! Command lines and endpoints.

use csi::Endpoint;

use crate::random::texts;

pub(crate) fn flag_seeds() -> Vec<Vec<u8>> {
    texts(&[
        "p--csi-address=/csi/csi.sock\n--timeout\n1m30s\n--feature-gates=Topology=true,X=false\n-v=5",
        "a-csi-address\nunix:///csi.sock\n-worker-threads=100\n--leader-election\n-vmodule=a=1,b*=2",
        "p--volume-name-prefix=pvc\n--retry-interval-start=1s\n--kube-api-qps=5.5\n--help",
        "a--http-endpoint=:8080\n--leader-election-labels=a=b,c=d\n--\nrest",
        "d--endpoint=unix:///csi.sock\n--drivername=x\n--capacity=fast=10Gi\n--capacity\nslow=1Ti\n--nodeid=n",
    ])
}

/// The command line of one of our programs: a letter that says which, then one argument a line.
pub fn go_flags(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut letters = text.chars();
    let program = letters.next();
    let args: Vec<String> = letters.as_str().split('\n').map(str::to_owned).collect();
    match program {
        Some('a') => drop((attacher::PROGRAM.parse)("csi-attacher", args)),
        Some('d') => drop(driver::flags::parse("hostpath", args)),
        _ => drop((provisioner::PROGRAM.parse)("csi-provisioner", args)),
    }
}

pub(crate) fn endpoint_seeds() -> Vec<Vec<u8>> {
    texts(&[
        "unix:///csi/csi.sock",
        "unix://csi.sock",
        "/csi/csi.sock",
        "tcp://127.0.0.1:9000",
        "dns:///a:1",
        "[::1]:9",
    ])
}

/// An address of a driver.
///
/// # Panics
/// When a socket has an empty path.
pub fn endpoint(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(endpoint) = Endpoint::parse(text)
        && let Some(path) = endpoint.socket_path()
    {
        assert!(!path.as_os_str().is_empty(), "{text:?} is a socket without a path");
    }
}
