//! The command lines of etcd and the Kubernetes components.

use crate::binaries::Binary;
use crate::options::Options;
use crate::pki::{SERVICE_ADDRESS, SERVICE_RANGE};

/// Where the components listen.
pub(crate) struct Ports {
    pub(crate) etcd: u16,
    pub(crate) etcd_peer: u16,
    pub(crate) api_server: u16,
}

fn flags(list: &[&str]) -> Vec<String> {
    list.iter().map(|&flag| flag.to_owned()).collect()
}

pub(crate) fn etcd_flags(ports: &Ports) -> Vec<String> {
    let client = format!("http://127.0.0.1:{}", ports.etcd);
    let peer = format!("http://127.0.0.1:{}", ports.etcd_peer);
    // Nothing here must survive a power cut, so no write waits for the disk.
    let mut flags = flags(&["--name=mooring", "--data-dir=etcd", "--unsafe-no-fsync", "--log-level=warn"]);
    flags.push(format!("--listen-client-urls={client}"));
    flags.push(format!("--advertise-client-urls={client}"));
    flags.push(format!("--listen-peer-urls={peer}"));
    flags.push(format!("--initial-advertise-peer-urls={peer}"));
    flags.push(format!("--initial-cluster=mooring={peer}"));
    flags
}

fn common_flags(options: &Options) -> Vec<String> {
    let mut flags = vec![format!("--v={}", options.verbosity)];
    if !options.feature_gates.is_empty() {
        flags.push(format!("--feature-gates={}", options.feature_gates.join(",")));
    }
    flags
}

pub(crate) fn api_server_flags(ports: &Ports, options: &Options) -> Vec<String> {
    let mut flags = flags(&[
        "--bind-address=127.0.0.1",
        // It refuses to advertise a loopback address, and nobody reads what it advertises.
        "--endpoint-reconciler-type=none",
        "--tls-cert-file=apiserver.crt",
        "--tls-private-key-file=apiserver.key",
        "--client-ca-file=ca.crt",
        "--service-account-key-file=sa.pub",
        "--service-account-signing-key-file=sa.key",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        // Logs and commands of pods, where there is a real node.
        "--kubelet-client-certificate=admin.crt",
        "--kubelet-client-key=admin.key",
        "--kubelet-preferred-address-types=InternalIP",
        "--cert-dir=apiserver-certificates",
        // Load runs are ours: no fair queueing between our own clients.
        "--max-requests-inflight=2000",
        "--max-mutating-requests-inflight=1000",
    ]);
    flags.push(format!("--etcd-servers=http://127.0.0.1:{}", ports.etcd));
    flags.push(format!("--secure-port={}", ports.api_server));
    flags.push(format!("--advertise-address={SERVICE_ADDRESS}"));
    flags.push(format!("--service-cluster-ip-range={SERVICE_RANGE}"));
    flags.extend(common_flags(options));
    flags.extend(options.api_server_flags.iter().cloned());
    flags
}

pub(crate) fn controller_flags(binary: Binary, options: &Options) -> Vec<String> {
    let mut flags = flags(&[
        "--leader-elect=false",
        // Nobody asks them anything: no port, no certificate.
        "--secure-port=0",
    ]);
    let kubeconfig = format!("{}.kubeconfig", binary.name());
    flags.push(format!("--kubeconfig={kubeconfig}"));
    if binary == Binary::ControllerManager {
        flags.extend([
            "--use-service-account-credentials".to_owned(),
            "--service-account-private-key-file=sa.key".to_owned(),
            "--root-ca-file=ca.crt".to_owned(),
            "--cluster-signing-cert-file=ca.crt".to_owned(),
            "--cluster-signing-key-file=ca.key".to_owned(),
            // Its own limit of 20 requests/s would be the bottleneck of every binding.
            "--kube-api-qps=1000".to_owned(),
            "--kube-api-burst=2000".to_owned(),
            // Our nodes have no kubelet to renew their leases and must stay ready.
            "--node-monitor-grace-period=24h".to_owned(),
            format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        ]);
    } else {
        flags.extend(["--kube-api-qps=1000".to_owned(), "--kube-api-burst=2000".to_owned()]);
    }
    flags.extend(common_flags(options));
    flags
}
