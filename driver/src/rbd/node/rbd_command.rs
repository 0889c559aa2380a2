//! Mapping by Ceph's `rbd` program: krbd and nbd.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::command::Runner;
use super::mapper::{Kind, Mapper, Request, Spec, may_be_one};

/// What maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeviceType {
    /// The kernel's own client.
    Krbd,
    /// rbd-nbd.
    Nbd,
}

impl DeviceType {
    fn kind(self) -> Kind {
        match self {
            Self::Krbd => Kind::Krbd,
            Self::Nbd => Kind::Nbd,
        }
    }

    fn name(self) -> &'static str {
        self.kind().name()
    }

    /// Options that are always given: ceph-csi's.
    fn map_options(self) -> &'static str {
        match self {
            // The device's node is there when the command ends; udev may not run in a container.
            Self::Krbd => "noudev",
            Self::Nbd => "try-netlink,reattach-timeout=300,io-timeout=0",
        }
    }

    fn unmap_options(self) -> &'static str {
        match self {
            Self::Krbd => "noudev",
            Self::Nbd => "",
        }
    }
}

/// Maps by `rbd device map`.
#[derive(Debug)]
pub(super) struct RbdCommand {
    kind: DeviceType,
    runner: Box<dyn Runner>,
}

/// One line of `rbd device list --format=json`.
#[derive(Debug, Deserialize)]
struct Mapped {
    /// A number for rbd-nbd, a text for krbd.
    #[serde(default)]
    id: serde_json::Value,
    pool: String,
    #[serde(default)]
    namespace: String,
    /// rbd-nbd calls it so.
    #[serde(alias = "image")]
    name: String,
    #[serde(default)]
    snap: String,
    device: PathBuf,
}

impl RbdCommand {
    pub(super) fn new(kind: DeviceType, runner: Box<dyn Runner>) -> Self {
        Self { kind, runner }
    }

    fn run(&self, arguments: &[&str], request: Option<&Request<'_>>) -> io::Result<String> {
        let mut all: Vec<&str> = vec!["--conf", "/dev/null"];
        if let Some(request) = request {
            // The key is neither on the command line, which all can read, nor on the disk.
            all.extend(["--id", request.user, "-m", request.monitors, "--keyfile", "/dev/stdin"]);
        }
        all.extend(arguments);
        let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
        self.runner.rbd(&all, request)
    }

    /// The device of an image; of several that it may be, as where clusters have images of equal names and are not known, the one
    /// that is noted.
    fn device(&self, spec: &Spec, former: &str) -> io::Result<Option<PathBuf>> {
        let answer =
            self.run(&["device", "list", "--device-type", self.kind.name(), "--format", "json"], None)?;
        let mapped = listed(&answer)?;
        let is_called_so = |mapped: &Mapped| {
            // No snapshot is written as a dash.
            ["", "-"].contains(&mapped.snap.as_str())
                && (&mapped.pool, &mapped.namespace, &mapped.name)
                    == (&spec.pool, &spec.namespace, &spec.image)
        };
        let candidates = mapped.into_iter().filter(is_called_so).map(|mapped| {
            let id = mapped.id.as_str().map_or_else(|| mapped.id.to_string(), str::to_owned);
            (mapped.device, self.runner.cluster(self.kind.kind(), &id).unwrap_or_default())
        });
        Ok(chosen(candidates.collect(), &spec.cluster, former))
    }
}

/// What `rbd device list` wrote; nothing at all where nothing is mapped.
fn listed(answer: &str) -> io::Result<Vec<Mapped>> {
    if answer.trim().is_empty() { Ok(Vec::new()) } else { Ok(serde_json::from_str(answer)?) }
}

/// How many devices are in an answer of `rbd device list`.
///
/// # Errors
/// It is none.
pub fn mapped(answer: &str) -> io::Result<usize> {
    listed(answer).map(|all| all.len())
}

/// Chooses the device of an image from those of images that are called so, each with its cluster, which is empty where it is not
/// known.
fn chosen(mut candidates: Vec<(PathBuf, String)>, cluster: &str, former: &str) -> Option<PathBuf> {
    candidates.retain(|(_, of)| may_be_one(of, cluster));
    candidates.sort_by_key(|(device, of)| (of.is_empty() || of != cluster, device != Path::new(former)));
    candidates.into_iter().next().map(|(device, _)| device)
}

impl Mapper for RbdCommand {
    fn find(&self, spec: &Spec) -> io::Result<Option<PathBuf>> {
        self.device(spec, "")
    }

    fn devices(&self, spec: &Spec, former: &str) -> io::Result<Vec<PathBuf>> {
        Ok(self.device(spec, former)?.into_iter().collect())
    }

    fn map(&self, request: &Request<'_>) -> io::Result<PathBuf> {
        let spec = request.spec.to_string();
        let options = joined(self.kind.map_options(), request.options);
        let mut arguments =
            vec!["device", "map", &spec, "--device-type", self.kind.name(), "--options", &options];
        if request.readonly {
            arguments.push("--read-only");
        }
        let answer = self.run(&arguments, Some(request))?;
        let device = answer.lines().map(str::trim).rfind(|line| line.starts_with('/'));
        device.map(PathBuf::from).ok_or_else(|| io::Error::other(format!("rbd named no device: {answer:?}")))
    }

    fn unmap(&self, spec: &Spec, former: &str, options: &str) -> io::Result<()> {
        let Some(device) = self.device(spec, former)? else { return Ok(()) };
        // By the device: an image of another cluster may be called so.
        let device = device.display().to_string();
        let options = joined(self.kind.unmap_options(), options);
        let mut arguments = vec!["device", "unmap", &device, "--device-type", self.kind.name()];
        if !options.is_empty() {
            arguments.extend(["--options", &options]);
        }
        self.run(&arguments, None).map(drop)
    }

    fn resized(&self, _: &Path) -> io::Result<()> {
        // Their devices follow the image by themselves.
        Ok(())
    }
}

fn joined(always: &str, more: &str) -> String {
    [always, more].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use base::secret::SecretValue;

    use super::*;

    /// Writes down what is run and gives prepared answers.
    #[derive(Debug, Default)]
    struct Recorder {
        run: std::sync::Arc<Mutex<Vec<String>>>,
        answers: Mutex<Vec<&'static str>>,
    }

    impl Runner for Recorder {
        fn rbd(&self, arguments: &[String], mapped: Option<&Request<'_>>) -> io::Result<String> {
            let key = mapped.map_or("", |mapped| mapped.key.expose());
            self.run.lock().unwrap().push(format!("{} <{key}", arguments.join(" ")));
            Ok(self.answers.lock().unwrap().remove(0).to_owned())
        }

        fn cluster(&self, _: Kind, id: &str) -> Option<String> {
            ["f0", "f1", "f2"].get(id.parse::<usize>().ok()?).map(|cluster| (*cluster).to_owned())
        }
    }

    fn spec(cluster: &str, namespace: &str) -> Spec {
        Spec {
            cluster: cluster.to_owned(),
            pool: "rbd".to_owned(),
            namespace: namespace.to_owned(),
            image: "csi-vol-u".to_owned(),
        }
    }

    const LIST: &str = r#"[{"id":"0","pool":"rbd","namespace":"","name":"csi-vol-u","snap":"-","device":"/dev/rbd0"},
        {"id":"1","pool":"rbd","namespace":"n","name":"csi-vol-u","snap":"-","device":"/dev/rbd1"},
        {"id":2,"pool":"rbd","namespace":"n","name":"csi-vol-u","snap":"-","device":"/dev/rbd2"}]"#;

    #[test]
    fn images_are_mapped_with_ceph_csis_command_lines() {
        let key = SecretValue::from("k==");
        for (kind, readonly, options, expected) in [
            (
                DeviceType::Krbd,
                false,
                "",
                "--conf /dev/null --id csi -m m1,m2 --keyfile /dev/stdin device map rbd/n/csi-vol-u --device-type krbd \
                 --options noudev <k==",
            ),
            (
                DeviceType::Krbd,
                true,
                "lock_on_read",
                "--conf /dev/null --id csi -m m1,m2 --keyfile /dev/stdin device map rbd/n/csi-vol-u --device-type krbd \
                 --options noudev,lock_on_read --read-only <k==",
            ),
            (
                DeviceType::Nbd,
                false,
                "",
                "--conf /dev/null --id csi -m m1,m2 --keyfile /dev/stdin device map rbd/n/csi-vol-u --device-type nbd \
                 --options try-netlink,reattach-timeout=300,io-timeout=0 <k==",
            ),
        ] {
            let recorder = Recorder::default();
            recorder.answers.lock().unwrap().push("/dev/rbd7\n");
            let run = recorder.run.clone();
            let mapper = RbdCommand::new(kind, Box::new(recorder));
            let spec = spec("f1", "n");
            let request = Request {
                spec: &spec,
                monitors: "m1,m2",
                user: "csi",
                key: &key,
                readonly,
                options,
                former: "",
            };
            assert_eq!(mapper.map(&request).unwrap(), Path::new("/dev/rbd7"));
            assert_eq!(*run.lock().unwrap(), [expected]);
        }
    }

    #[test]
    fn a_device_is_found_by_its_image_and_taken_away_if_it_is_there() {
        for (spec, answers, device, expected) in [
            (spec("f0", ""), vec![LIST, LIST, ""], Some("/dev/rbd0"), vec!["list", "list", "/dev/rbd0"]),
            // One that ceph-csi, which notes no cluster, has mapped.
            (spec("", ""), vec![LIST, LIST, ""], Some("/dev/rbd0"), vec!["list", "list", "/dev/rbd0"]),
            (spec("f1", "n"), vec![LIST, LIST, ""], Some("/dev/rbd1"), vec!["list", "list", "/dev/rbd1"]),
            // Another cluster's pool and image are called so.
            (spec("f2", "n"), vec![LIST, LIST, ""], Some("/dev/rbd2"), vec!["list", "list", "/dev/rbd2"]),
            (spec("f3", "n"), vec![LIST, LIST], None, vec!["list", "list"]),
            (spec("f0", "m"), vec![LIST, "[]"], None, vec!["list", "list"]),
        ] {
            let recorder = Recorder::default();
            *recorder.answers.lock().unwrap() = answers;
            let run = recorder.run.clone();
            let mapper = RbdCommand::new(DeviceType::Krbd, Box::new(recorder));
            assert_eq!(mapper.find(&spec).unwrap().as_deref(), device.map(Path::new));
            mapper.unmap(&spec, "", "force").unwrap();
            let list = "--conf /dev/null device list --device-type krbd --format json <";
            let full = |line: &str| match line {
                "list" => list.to_owned(),
                device => format!(
                    "--conf /dev/null device unmap {device} --device-type krbd --options noudev,force <"
                ),
            };
            assert_eq!(*run.lock().unwrap(), expected.into_iter().map(full).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_rbd_nbd_lists_is_read_too() {
        let answer = r#"[{"id":1,"pool":"rbd","namespace":"","image":"csi-vol-u","snap":"","device":"/dev/nbd0","cookie":""},
            {"id":2,"pool":"rbd","namespace":"n","image":"csi-vol-u","snap":"-","device":"/dev/nbd1"}]"#;
        for (spec, device) in [
            (spec("f1", ""), Some("/dev/nbd0")),
            (spec("f2", "n"), Some("/dev/nbd1")),
            (spec("f2", ""), None),
        ] {
            let recorder = Recorder::default();
            recorder.answers.lock().unwrap().push(answer);
            let mapper = RbdCommand::new(DeviceType::Nbd, Box::new(recorder));
            assert_eq!(mapper.find(&spec).unwrap().as_deref(), device.map(Path::new));
        }
    }

    #[test]
    fn of_devices_whose_clusters_are_unknown_the_noted_one_is_it() {
        let all =
            || vec![(PathBuf::from("/dev/nbd0"), String::new()), (PathBuf::from("/dev/nbd1"), String::new())];
        for (cluster, former, expected) in
            [("", "", "/dev/nbd0"), ("", "/dev/nbd1", "/dev/nbd1"), ("f1", "/dev/nbd1", "/dev/nbd1")]
        {
            assert_eq!(
                chosen(all(), cluster, former).as_deref(),
                Some(Path::new(expected)),
                "{cluster} {former}"
            );
        }
        let known = [all(), vec![(PathBuf::from("/dev/nbd2"), "f1".to_owned())]].concat();
        assert_eq!(chosen(known, "f1", "/dev/nbd0").as_deref(), Some(Path::new("/dev/nbd2")));
    }
}
