//! A driver on a namespace of its own in a Ceph that all tests of this file share.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use cluster::ceph::{self, Ceph, POOL, USER};
use cluster::process::{output, undo_at_end};
use cluster::skip;
use conformance::{Running, request};
use csi::{Rpc, v1};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tonic::Status;

/// For a call that works on Ceph.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// For the OSD to remove what snapshots held.
const TRIMMING: Duration = Duration::from_secs(60);

/// Ends with the process, which is when the guard of its processes ends it.
static CEPH: OnceCell<Ceph> = OnceCell::const_new();

/// A driver and where it works. The cluster's key in its configuration is the namespace's name.
pub(crate) struct Stand {
    // Dropped in this order: what the driver started is ended before the folder goes, in which it mounts.
    pub(crate) driver: Running,
    daemons: Daemons,
    pub(crate) folder: TempDir,
    pub(crate) namespace: String,
    pub(crate) ceph: &'static Ceph,
}

/// Unmounts what is below a test's folder, kills its rbd-fuse daemons, lets go of its loop devices, and removes it. A daemon that
/// ends while something on its device is mounted may never end. Nothing here asks a daemon for anything.
const UNDO: &str = r#"
below() { cut -d' ' -f5 /proc/self/mountinfo | grep -F "$1/" | tac; }
below "$1" | grep -vF "$1/fuse/" | while read -r mount; do timeout 10 umount -l "$mount"; done
for process in /proc/[0-9]*; do
  tr '\0' '\n' <"$process/cmdline" 2>/dev/null | grep -q "^$1/fuse/.*/ceph.conf\$" && kill -s KILL "${process#/proc/}"
done
for file in /sys/block/loop*/loop/backing_file; do
  case $(cat "$file" 2>/dev/null) in
    "$1"/*) device=${file#/sys/block/}; timeout 10 losetup -d "/dev/${device%%/*}" ;;
  esac
done
below "$1" | while read -r mount; do timeout 10 umount -l "$mount"; done
rm -rf --one-file-system "$1"
"#;

/// A test's folder with what its driver started there. What a failed test left would wait for its Ceph for ever.
struct Daemons(std::path::PathBuf);

impl Daemons {
    fn of(folder: &TempDir) -> Self {
        undo_at_end(folder.path(), UNDO).unwrap();
        Self(folder.path().to_owned())
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut shell = Command::new("sh");
            shell.args(["-c", UNDO, "undo"]).arg(&self.0);
            let _ = output(shell, "", DEADLINE);
        }
    }
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

    /// As [`Self::start`], a driver that maps images by rbd-fuse, which needs neither krbd nor nbd. Below the folder of the test
    /// is what it mounts.
    pub(crate) async fn start_with_mounts(name: &str, args: &[&str]) -> Option<Self> {
        // The driver of the moment chooses the folder, which is the test's.
        let mut stand = Self::start(name, &[]).await?;
        let fuse = stand.fuse();
        let all = [args, &["--mapper=fuse", &fuse]].concat();
        stand.restart(&all).await;
        Some(stand)
    }

    fn fuse(&self) -> String {
        format!("--fuse-folder={}", self.daemons.0.join("fuse").display())
    }

    /// A folder whose programs the driver runs before those of the system; it need not be there.
    pub(crate) fn programs(&self) -> std::path::PathBuf {
        self.folder.path().join("bin")
    }

    /// Sends a signal, such as `-KILL`, to the daemons that serve this stand's devices; whether there is one.
    pub(crate) fn signal_daemons(&self, signal: &str) -> bool {
        let daemons = format!("rbd-fuse -c {}/", self.folder.path().join("fuse").display());
        let sent = std::process::Command::new("pkill").args([signal, "-f", &daemons]).status();
        sent.unwrap().success()
    }

    /// Asserts that neither a mount nor a device is left.
    pub(crate) fn assert_nothing_mounted(&self) {
        let nothing = Vec::<std::path::PathBuf>::new();
        assert_eq!(conformance::mounts_below(self.folder.path()), nothing);
        assert_eq!(conformance::loop_devices_below(self.folder.path()), nothing);
    }

    /// As [`Self::start`], on this Ceph.
    pub(crate) async fn on(ceph: &'static Ceph, name: &str, args: &[&str]) -> Self {
        ceph.run("rbd", &["namespace", "create", "--pool", POOL, "--namespace", name]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| std::fs::write(folder.path().join(file), text).unwrap();
        let config = format!(
            r#"[{{"clusterID": "{name}", "monitors": ["{}"], "rbd": {{"radosNamespace": "{name}"}}}}]"#,
            ceph.monitor()
        );
        write("config.json", &config);
        write("userID", USER);
        write("userKey", ceph.key());
        let daemons = Daemons::of(&folder);
        let driver = drive(&folder, args).await;
        Self { driver, daemons, folder, namespace: name.to_owned(), ceph }
    }

    /// Kills the driver and starts another one.
    pub(crate) async fn restart(&mut self, args: &[&str]) {
        self.driver.strike();
        // Until then it may still be connected to.
        self.driver.gone().await;
        self.driver = drive(&self.folder, args).await;
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

    fn run(&self, program: &str, args: &[&str]) -> String {
        let place = ["--pool", POOL, "--namespace", &self.namespace];
        self.ceph.run(program, &[&place, args].concat()).unwrap_or_else(|error| panic!("{args:?}: {error}"))
    }

    /// What `rbd` says, about this test's namespace.
    pub(crate) fn rbd(&self, args: &[&str]) -> String {
        self.run("rbd", args)
    }

    /// What `rados` says, about this test's namespace.
    pub(crate) fn rados(&self, args: &[&str]) -> String {
        self.run("rados", args)
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
        let text = self.ceph.run("ceph", &["osd", "pool", "ls", "detail"]).unwrap();
        let named = format!("'{POOL}'");
        let line = text.lines().find(|line| line.contains(&named)).unwrap();
        format!("{:016x}", line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap())
    }

    /// The id of the volume or the snapshot with this UUID.
    pub(crate) fn handle(&self, uuid: &str) -> String {
        format!("0001-{:04x}-{}-{}-{uuid}", self.namespace.len(), self.namespace, self.pool())
    }

    /// Asserts that nothing is left: no image, nothing in the trash, no object but the directories, which are empty. The OSD
    /// removes what snapshots held some time after them.
    pub(crate) fn assert_empty(&self) {
        assert_eq!(self.images(), [""; 0]);
        assert_eq!(self.rbd(&["trash", "ls", "--all"]), "");
        let end = Instant::now() + TRIMMING;
        let objects = || -> BTreeSet<String> { self.rados(&["ls"]).lines().map(str::to_owned).collect() };
        let is_data = |object: &String| object.starts_with("rbd_data.");
        while objects().iter().any(is_data) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(200));
        }
        for object in objects() {
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

/// As [`until_done`], a call that makes something and may have begun: no code is final, after which its caller would forget it.
pub(crate) async fn until_made<T>(patience: Duration, call: impl AsyncFn() -> Result<T, tonic::Status>) -> T {
    until_done(patience, async || {
        call().await.inspect_err(|status| {
            let may_repeat = [tonic::Code::Aborted, tonic::Code::Unavailable].contains(&status.code());
            assert!(may_repeat, "the caller forgets what is there: {status}");
        })
    })
    .await
}

/// Makes a call until it succeeds, as its caller would, for so long.
pub(crate) async fn until_done<T>(patience: Duration, call: impl AsyncFn() -> Result<T, tonic::Status>) -> T {
    let end = Instant::now() + patience;
    loop {
        match call().await {
            Ok(reply) => return reply,
            Err(status) => assert!(Instant::now() < end, "{status}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
