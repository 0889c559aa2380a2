//! A driver on a namespace of its own in a Ceph that all tests of this file share.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cluster::ceph::{self, Ceph, POOL, USER};
use cluster::skip;
use conformance::{Running, request};
use csi::{Rpc, v1};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tonic::Status;

/// For a call that works on Ceph.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Ends with the process, which is when the guard of its processes ends it.
static CEPH: OnceCell<Ceph> = OnceCell::const_new();

/// A driver and where it works. The cluster's key in its configuration is the namespace's name.
pub(crate) struct Stand {
    pub(crate) driver: Running,
    pub(crate) folder: TempDir,
    pub(crate) namespace: String,
    ceph: &'static Ceph,
}

/// The Ceph; none where there can be none.
async fn shared(what: &str) -> Option<&'static Ceph> {
    if let Some(lack) = ceph::lack() {
        skip::left_out(what, lack);
        return None;
    }
    Some(CEPH.get_or_init(|| async { Ceph::start().await.unwrap_or_else(|error| panic!("{error}")) }).await)
}

impl Stand {
    /// Starts a driver; none where there can be no Ceph, which is then said about this test.
    pub(crate) async fn start(name: &str, args: &[&str]) -> Option<Self> {
        Some(Self::on(shared(name).await?, name, args).await)
    }

    /// As [`Self::start`], on this Ceph.
    pub(crate) async fn on(ceph: &'static Ceph, name: &str, args: &[&str]) -> Self {
        run(ceph.tool("rbd").args(["namespace", "create", "--pool", POOL, "--namespace", name]));
        let folder = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| std::fs::write(folder.path().join(file), text).unwrap();
        let config = format!(
            r#"[{{"clusterID": "{name}", "monitors": ["{}"], "rbd": {{"radosNamespace": "{name}"}}}}]"#,
            ceph.monitor()
        );
        write("config.json", &config);
        write("userID", USER);
        write("userKey", ceph.key());
        let driver = drive(&folder, args).await;
        Self { driver, folder, namespace: name.to_owned(), ceph }
    }

    /// Kills the driver and starts another one.
    pub(crate) async fn restart(&mut self, args: &[&str]) {
        self.driver.strike();
        let next = drive(&self.folder, args).await;
        std::mem::replace(&mut self.driver, next).kill().await;
    }

    /// Makes a call.
    pub(crate) async fn call<R: Rpc>(&self, request: R) -> Result<R::Reply, Status> {
        self.driver.client().call(request, DEADLINE).await
    }

    /// A StorageClass's parameters.
    pub(crate) fn parameters(&self) -> BTreeMap<String, String> {
        map(&[("clusterID", &self.namespace), ("pool", POOL)])
    }

    /// The user's Secret.
    pub(crate) fn secrets(&self) -> BTreeMap<String, String> {
        map(&[("userID", USER), ("userKey", self.ceph.key())])
    }

    /// A volume of this many bytes.
    pub(crate) fn create(&self, name: &str, bytes: i64) -> v1::CreateVolumeRequest {
        v1::CreateVolumeRequest {
            parameters: self.parameters(),
            secrets: self.secrets(),
            ..request::create(name, false, bytes)
        }
    }

    /// Makes a volume.
    pub(crate) async fn created(&self, request: v1::CreateVolumeRequest) -> v1::Volume {
        self.call(request).await.unwrap().volume.unwrap()
    }

    /// Removes a volume.
    pub(crate) async fn delete(&self, volume: &str) -> Result<(), Status> {
        let request = v1::DeleteVolumeRequest { secrets: self.secrets(), ..request::delete(volume) };
        self.call(request).await.map(drop)
    }

    /// Cuts a snapshot.
    pub(crate) async fn snapshot(&self, name: &str, volume: &str) -> Result<v1::Snapshot, Status> {
        let request =
            v1::CreateSnapshotRequest { secrets: self.secrets(), ..request::snapshot(name, volume) };
        self.call(request).await.map(|reply| reply.snapshot.unwrap())
    }

    /// Removes a snapshot.
    pub(crate) async fn delete_snapshot(&self, snapshot: &str) -> Result<(), Status> {
        let request =
            v1::DeleteSnapshotRequest { secrets: self.secrets(), ..request::delete_snapshot(snapshot) };
        self.call(request).await.map(drop)
    }

    /// Makes a volume larger; gives its size.
    pub(crate) async fn expand(&self, volume: &str, bytes: i64) -> Result<i64, Status> {
        let request = v1::ControllerExpandVolumeRequest {
            volume_id: volume.to_owned(),
            capacity_range: Some(request::at_least(bytes)),
            secrets: self.secrets(),
            ..Default::default()
        };
        self.call(request).await.map(|reply| reply.capacity_bytes)
    }

    /// The ids and sizes that the driver lists.
    pub(crate) async fn listed(&self) -> BTreeMap<String, i64> {
        let reply = self.call(v1::ListVolumesRequest::default()).await.unwrap();
        assert_eq!(reply.next_token, "");
        let volumes = reply.entries.into_iter().map(|entry| entry.volume.unwrap());
        volumes.map(|volume| (volume.volume_id, volume.capacity_bytes)).collect()
    }

    /// What `rbd` says, about this test's namespace.
    pub(crate) fn rbd(&self, args: &[&str]) -> String {
        run(self.ceph.tool("rbd").args(["--pool", POOL, "--namespace", &self.namespace]).args(args))
    }

    /// What `rados` says, about this test's namespace.
    pub(crate) fn rados(&self, args: &[&str]) -> String {
        run(self.ceph.tool("rados").args(["--pool", POOL, "--namespace", &self.namespace]).args(args))
    }

    /// The keys and values of an object.
    pub(crate) fn omap(&self, object: &str) -> BTreeMap<String, String> {
        let keys = self.rados(&["listomapkeys", object]);
        let value = |key: &str| {
            let file = self.folder.path().join("value");
            self.rados(&["getomapval", object, key, &file.display().to_string()]);
            (key.to_owned(), std::fs::read_to_string(&file).unwrap())
        };
        keys.lines().map(value).collect()
    }

    /// Sets keys of an object, as ceph-csi would.
    pub(crate) fn set_omap(&self, object: &str, entries: &[(&str, &str)]) {
        for (key, value) in entries {
            self.rados(&["setomapval", object, key, value]);
        }
    }

    /// The names of the images.
    pub(crate) fn images(&self) -> Vec<String> {
        self.rbd(&["ls"]).lines().map(str::to_owned).collect()
    }

    /// The id of an image.
    pub(crate) fn image_id(&self, name: &str) -> String {
        let text = self.rbd(&["info", name]);
        text.lines().find_map(|line| line.trim().strip_prefix("id: ")).unwrap().to_owned()
    }

    /// The pool's id as a handle has it.
    pub(crate) fn pool(&self) -> String {
        let text = run(self.ceph.tool("ceph").args(["osd", "pool", "ls", "detail"]));
        let named = format!("'{POOL}'");
        let line = text.lines().find(|line| line.contains(&named)).unwrap();
        format!("{:016x}", line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap())
    }

    /// The id of the volume or the snapshot with this UUID.
    pub(crate) fn handle(&self, uuid: &str) -> String {
        format!("0001-{:04x}-{}-{}-{uuid}", self.namespace.len(), self.namespace, self.pool())
    }

    /// Asserts that nothing is left: no image, nothing in the trash, no object but the directories, which are empty.
    pub(crate) fn assert_empty(&self) {
        assert_eq!(self.images(), [""; 0]);
        assert_eq!(self.rbd(&["trash", "ls", "--all"]), "");
        let objects: BTreeSet<String> = self.rados(&["ls"]).lines().map(str::to_owned).collect();
        for object in objects {
            let is_directory = ["csi.volumes.default", "csi.snaps.default"].contains(&object.as_str());
            // What Ceph itself keeps of images and of clones.
            let is_cephs =
                ["rbd_directory", "rbd_children", "rbd_trash", "rbd_info"].contains(&object.as_str());
            assert!(is_directory || is_cephs, "{object} is left");
            if is_directory {
                assert_eq!(self.rados(&["listomapkeys", &object]), "", "{object}");
            }
        }
    }
}

async fn drive(folder: &TempDir, args: &[&str]) -> Running {
    let path = |file: &str| folder.path().join(file).display().to_string();
    let mut all = vec![
        format!("--ceph-config={}", path("config.json")),
        format!("--ceph-secret-folder={}", folder.path().display()),
        "--v=5".to_owned(),
    ];
    all.extend(args.iter().map(|arg| (*arg).to_owned()));
    Running::start_rbd(folder.path(), &all).await
}

/// A map of texts.
pub(crate) fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn run(command: &mut std::process::Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
