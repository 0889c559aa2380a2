//! The process itself: endpoints, folders, flags.

use std::process::Command;
use std::time::Duration;

use conformance::{Running, request};
use csi::{Client, Connection, DialOptions, Endpoint, v1};

use super::DEADLINE;

#[tokio::test]
async fn tcp_works_and_the_socket_is_gone_after_a_graceful_stop() {
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = Endpoint::Tcp { host: "127.0.0.1".to_owned(), port };
    let driver = Running::start_at(folder.path(), endpoint, &[]).await;
    let info = driver.client().call(v1::GetPluginInfoRequest {}, DEADLINE).await.unwrap();
    assert_eq!(info.name, "hostpath.csi.k8s.io");
    assert_eq!(driver.stop().await, Some(0));
    // A stale socket of a killed driver is replaced, and a graceful stop removes it.
    Running::start(folder.path(), &[]).await.kill().await;
    assert!(folder.path().join("csi.sock").exists());
    let driver = Running::start(folder.path(), &[]).await;
    assert_eq!(driver.stop().await, Some(0));
    assert!(!folder.path().join("csi.sock").exists());
}

#[tokio::test]
async fn a_second_process_of_one_name_waits_and_exits() {
    let folder = tempfile::tempdir().unwrap();
    let first = Running::start(folder.path(), &[]).await;
    let state = format!("--statedir={}", folder.path().join("state").display());
    let leave = |args: Vec<String>| {
        let output = Command::new(Running::executable()).args(args).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let endpoint = format!("--endpoint={}", folder.path().join("second.sock").display());
    let (code, text) = leave(vec![endpoint.clone(), "--nodeid=n".to_owned(), state.clone()]);
    assert_eq!(code, Some(1));
    assert!(text.contains("in use by another driver process of this name"), "{text}");
    assert_eq!(leave(vec![endpoint.clone(), state]).0, Some(1), "no node id");
    assert_eq!(leave(vec!["--no-such-flag".to_owned()]).0, Some(2));
    let file = folder.path().join("second.sock");
    std::fs::write(&file, "not a socket").unwrap();
    let other = format!("--statedir={}", folder.path().join("other").display());
    let (code, text) = leave(vec![endpoint, "--nodeid=n".to_owned(), other]);
    assert_eq!(code, Some(1));
    assert!(text.contains("is no socket") && file.exists(), "{text}");
    assert_eq!(first.stop().await, Some(0));
}

#[tokio::test]
async fn sigterm_ends_a_driver_that_waits_for_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let first = Running::start(folder.path(), &[]).await;
    let mut command = Command::new(Running::executable());
    command.arg(format!("--endpoint={}", folder.path().join("second.sock").display())).arg("--nodeid=n");
    command.arg(format!("--statedir={}", folder.path().join("state").display()));
    let log = folder.path().join("second.log");
    let mut second = cluster::Process::start("second", command, &log).unwrap();
    let deadline = std::time::Instant::now() + DEADLINE;
    while !second.last_lines(30).contains("Waiting for another driver process") {
        assert!(std::time::Instant::now() < deadline, "{}", second.last_lines(30));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let told = std::time::Instant::now();
    assert_eq!(second.terminate(DEADLINE).await.and_then(|status| status.code()), Some(0));
    // It would wait for 15 seconds.
    assert!(told.elapsed() < Duration::from_secs(5), "{:?}", told.elapsed());
    assert_eq!(first.stop().await, Some(0));
}

#[tokio::test]
async fn three_drivers_share_a_state_folder() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["a.example", "b.example", "c.example"];
    let ids = async |drivers: &[Running]| {
        let mut ids = Vec::new();
        for driver in drivers {
            let list = driver.client().call(v1::ListVolumesRequest::default(), DEADLINE).await.unwrap();
            ids.extend(list.entries.into_iter().map(|entry| entry.volume.unwrap().volume_id));
        }
        ids
    };
    let start = async || {
        let mut drivers = Vec::new();
        for name in names {
            let endpoint = Endpoint::Unix(folder.path().join(format!("{name}.sock")));
            let name = format!("--drivername={name}");
            drivers.push(Running::start_at(folder.path(), endpoint, &[&name]).await);
        }
        drivers
    };
    let drivers = start().await;
    let mut made = Vec::new();
    for driver in &drivers {
        made.push(super::volume(driver.client(), request::create("v", false, request::MIB)).await.volume_id);
    }
    assert_eq!(ids(&drivers).await, made, "each has its own volume");
    for driver in drivers {
        driver.kill().await;
    }
    let drivers = start().await;
    assert_eq!(ids(&drivers).await, made, "and after a kill too");
    for driver in drivers {
        assert_eq!(driver.stop().await, Some(0));
    }
}

#[tokio::test]
async fn a_proxy_pairs_a_caller_with_a_driver_that_dials_in() {
    let folder = tempfile::tempdir().unwrap();
    let driver = Running::start(folder.path(), &[]).await;
    let (outer, inner) = (folder.path().join("outer.sock"), folder.path().join("inner.sock"));
    let mut command = Command::new(Running::executable());
    command.arg(format!("--endpoint={}", outer.display()));
    command.arg(format!("--proxy-endpoint={}", inner.display()));
    let log = folder.path().join("proxy.log");
    let mut proxy = cluster::Process::start("proxy", command, &log).unwrap();
    // The mock driver of the Kubernetes tests dials in; here its bytes go on to a real driver.
    let socket = folder.path().join("csi.sock");
    let relay = tokio::spawn(async move {
        let mut dialled = loop {
            match tokio::net::UnixStream::connect(&inner).await {
                Ok(dialled) => break dialled,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        let mut real = tokio::net::UnixStream::connect(&socket).await.unwrap();
        tokio::io::copy_bidirectional(&mut dialled, &mut real).await
    });
    let connection = Connection::dial(Endpoint::Unix(outer), DialOptions::default()).await.unwrap();
    let client = Client::new(connection, base::metrics::Metrics::new(), Default::default());
    let info = client.call(v1::NodeGetInfoRequest {}, DEADLINE).await.unwrap();
    assert_eq!(info.node_id, "node-1");
    relay.abort();
    assert_eq!(proxy.terminate(DEADLINE).await.and_then(|status| status.code()), Some(0));
    assert_eq!(driver.stop().await, Some(0));
}

#[tokio::test]
async fn a_driver_without_file_descriptors_does_not_spin() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("csi.sock");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 32; exec \"$0\" \"$@\""]).arg(Running::executable());
    command.arg(format!("--endpoint={}", socket.display())).arg("--nodeid=n");
    command.arg(format!("--statedir={}", folder.path().join("state").display()));
    let driver = cluster::Process::start("driver", command, &folder.path().join("log")).unwrap();
    let client = async || {
        let connection = Connection::dial(Endpoint::Unix(socket.clone()), DialOptions::default()).await;
        Client::new(connection.unwrap(), base::metrics::Metrics::new(), Default::default())
    };
    drop(client().await);
    let mut connections = Vec::new();
    for _ in 0..64 {
        connections.push(tokio::net::UnixStream::connect(&socket).await.unwrap());
    }
    // In hundredths of a second, user and system.
    let used = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", driver.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let before = used();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let busy = used() - before;
    assert!(busy < 20, "{busy} % of a second");
    drop(connections);
    client().await.call(v1::ProbeRequest::default(), DEADLINE).await.unwrap();
}
