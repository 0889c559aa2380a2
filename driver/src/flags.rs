//! The command line: every flag of the Go driver (`docs/upstream/hostpath.md`), `--hidden-capabilities`, `--disable-online-expansion`,
//! `--target-root` and `--sparse`; and `--backend`, with the flags of [`crate::rbd::flags`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use base::flag::standard::LoggingFlags;
use base::flag::{Dialect, Exit, FlagSet, Value, ValueError};
use base::quantity::Quantity;
use csi::{Endpoint, v1};

use crate::options::{BlockType, Options};
use crate::rbd::RbdOptions;
use crate::rbd::flags::{NAME, RbdFlags};

/// Flags that may be given several times; each adds to the ones before.
const REPEATED: [&str; 4] =
    ["capacity", "accepted-mutable-parameter-names", "hidden-capabilities", "target-root"];

/// Bytes per pool: `kind=quantity`, several by comma or by repeating the flag; the last of a kind wins.
#[derive(Debug, Clone, Default)]
pub struct Capacities(BTreeMap<String, i64>);

impl Value for Capacities {
    type Initial = &'static str;
    const TYPE: &'static str = "kind=quantity";

    fn parse(text: &str) -> Result<Self, ValueError> {
        let entry = |entry: &str| {
            let wrong =
                || ValueError::new(format!("{entry:?} is not of the form kind=quantity, such as fast=100Gi"));
            let (kind, quantity) =
                entry.split_once('=').filter(|(kind, _)| !kind.is_empty()).ok_or_else(wrong)?;
            let bytes = Quantity::parse(quantity).ok().and_then(|quantity| quantity.value().ok());
            let bytes = bytes.filter(|bytes| *bytes >= 0).ok_or_else(wrong)?;
            Ok((kind.to_owned(), bytes))
        };
        text.split(',').filter(|part| !part.is_empty()).map(entry).collect::<Result<_, _>>().map(Self)
    }

    fn print(initial: &&'static str) -> String {
        (*initial).to_owned()
    }
}

/// Words by comma or by repeating the flag.
#[derive(Debug, Clone, Default)]
pub struct Words(BTreeSet<String>);

impl Value for Words {
    type Initial = &'static str;
    const TYPE: &'static str = "names";

    fn parse(text: &str) -> Result<Self, ValueError> {
        Ok(Self(text.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect()))
    }

    fn print(initial: &&'static str) -> String {
        (*initial).to_owned()
    }
}

base::flags! {
    /// The driver's own flags.
    pub struct DriverFlags {
        "endpoint" endpoint: String = "unix:///tmp/csi.sock", "Where to listen: unix:///path, tcp://host:port (no host: this machine only), or a socket path.";
        "drivername" name: String = "hostpath.csi.k8s.io", "Name of the driver; with --backend=rbd the default is rbd.csi.ceph.com.";
        "nodeid" node_id: String = "", "Id of this node. Required.";
        "statedir" state_folder: String = "/csi-data-dir", "Folder for the volumes and the driver's state; made if it is not there.";
        "maxvolumespernode" max_volumes: i64 = 0, "How many volumes this node says it takes; 0: no limit. Not enforced.";
        "attach-limit" attach_limit: i64 = 0, "How many volumes can be attached; enforced. 0: no limit. -1: a random number is reported and not enforced.";
        "enable-attach" attach: bool = false, "Volumes must be attached before they are used.";
        "capacity" capacity: Capacities = "", "Size of a capacity pool as kind=quantity; may be repeated. Volumes choose one by the parameter kind.";
        "max-volume-size" max_size: i64 = 1 << 40, "Largest volume in bytes.";
        "max-volume-size-node" max_size_node: i64 = 0, "Largest volume in bytes that NodeExpandVolume takes; 0: as max-volume-size.";
        "enable-topology" topology: bool = true, "Tell where volumes are.";
        "enable-volume-expansion" expansion: bool = true, "Serve ControllerExpandVolume and NodeExpandVolume.";
        "node-expand-required" node_expansion: bool = true, "Deprecated: use enable-volume-expansion, which is the same.";
        "disable-controller-expansion" no_controller_expansion: bool = false, "Do not advertise EXPAND_VOLUME for the controller.";
        "disable-online-expansion" no_online_expansion: bool = false, "Refuse to grow a volume while it is published, with FAILED_PRECONDITION.";
        "disable-node-expansion" no_node_expansion: bool = false, "Do not advertise EXPAND_VOLUME for the node, and do not ask for it after the controller's.";
        "enable-controller-modify-volume" modify: bool = false, "Serve ControllerModifyVolume and mutable parameters.";
        "accepted-mutable-parameter-names" mutable_names: Words = "", "Mutable parameters that are accepted; may be repeated. Empty: all.";
        "enable-list-snapshots" list_snapshots: bool = true, "Advertise LIST_SNAPSHOTS.";
        "enable-snapshot-metadata" metadata: bool = false, "Serve the SnapshotMetadata service.";
        "snapshot-metadata-block-type" block_type: String = "FIXED_LENGTH", "How snapshot metadata is told: FIXED_LENGTH or VARIABLE_LENGTH.";
        "check-volume-lifecycle" strict: bool = false, "Refuse what is out of order (deleting a volume in use, publishing an unstaged one) instead of warning.";
        "ephemeral" ephemeral: bool = false, "Deprecated: treat every publish as of an inline volume; no controller.";
        "proxy-endpoint" proxy: String = "", "Do not be a driver: pair each connection on the endpoint with one on this socket.";
        "hidden-capabilities" hidden: Words = "", "Capabilities not to advertise, such as GET_SNAPSHOT, for callers that fail on ones they do not know; may be repeated.";
        "target-root" target_roots: Words = "", "Folder below which volumes may be staged and published, such as /var/lib/kubelet; may be repeated. Empty: anywhere.";
        "sparse" sparse: bool = false, "Block volumes take space when they are written, not when they are made: for tests. They can fail when the disk is full.";
        "automaxprocs" automaxprocs: bool = false, "Accepted for compatibility; there is no Go runtime to tune.";
        "version" version: bool = false, "Print the version and exit.";
        "logtostderr" log_to_stderr: bool = true, "Accepted for compatibility; the log always goes to standard error.";
        "alsologtostderr" also_to_stderr: bool = false, "Accepted for compatibility; the log always goes to standard error.";
        "stderrthreshold" threshold: String = "2", "Accepted for compatibility; the log always goes to standard error.";
        "log_dir" log_dir: String = "", "Accepted for compatibility; the log always goes to standard error.";
        "log_file" log_file: String = "", "Accepted for compatibility; the log always goes to standard error.";
        "log_file_max_size" log_file_max_size: i64 = 1800, "Accepted for compatibility; the log always goes to standard error.";
        "log_backtrace_at" backtrace: String = ":0", "Accepted for compatibility; there are no Go stacks to print.";
        "add_dir_header" dir_header: bool = false, "Accepted for compatibility.";
        "skip_headers" skip_headers: bool = false, "Accepted for compatibility.";
        "skip_log_headers" skip_log_headers: bool = false, "Accepted for compatibility.";
        "one_output" one_output: bool = false, "Accepted for compatibility.";
    }
}

/// What the process is to be.
#[derive(Debug)]
pub enum Role {
    /// A driver.
    Driver(Box<Options>),
    /// A driver for images in Ceph.
    Rbd(Box<RbdOptions>),
    /// A byte proxy between these two.
    Proxy {
        /// Where callers connect.
        endpoint: Endpoint,
        /// Where the driver connects.
        other: Endpoint,
    },
}

/// Reads the command line (without the program's name).
///
/// # Errors
/// How to leave: 0 for help and version, 2 for an unreadable command line, 1 for values that do not fit.
pub fn parse(program: &str, args: impl IntoIterator<Item = String>) -> Result<(Role, LoggingFlags), Exit> {
    let mut set = FlagSet::new(program, Dialect::Go);
    set.group::<DriverFlags>().group::<RbdFlags>().group::<LoggingFlags>();
    let parsed = set.parse(merge_repeated(args))?;
    let (mut flags, rbd): (DriverFlags, RbdFlags) = (parsed.read(), parsed.read());
    let rbd = rbd.is_chosen(&parsed)?.then_some(rbd);
    if rbd.is_some() && !parsed.is_set("drivername") {
        NAME.clone_into(&mut flags.name);
    }
    Ok((flags.role(rbd)?, parsed.read()))
}

fn roots(words: BTreeSet<String>) -> Result<Vec<PathBuf>, Exit> {
    match words.iter().find(|root| !root.starts_with('/')) {
        Some(root) => Err(Exit::refuse(format!("--target-root: {root:?} is not an absolute path"))),
        None => Ok(words.into_iter().map(PathBuf::from).collect()),
    }
}

impl DriverFlags {
    fn role(self, rbd: Option<RbdFlags>) -> Result<Role, Exit> {
        let refuse = |flag: &str, reason: String| Exit::refuse(format!("--{flag}: {reason}"));
        let endpoint =
            Endpoint::parse(&self.endpoint).map_err(|error| refuse("endpoint", error.to_string()))?;
        if !self.proxy.is_empty() {
            let other =
                Endpoint::parse(&self.proxy).map_err(|error| refuse("proxy-endpoint", error.to_string()))?;
            return Ok(Role::Proxy { endpoint, other });
        }
        check_text("nodeid", &self.node_id, crate::check::MAX_NODE_ID)?;
        check_text("drivername", &self.name, 63)?;
        check_name(&self.name)?;
        check_hidden(&self.hidden.0)?;
        let target_roots = roots(self.target_roots.0)?;
        if let Some(rbd) = rbd {
            let options = rbd.options(endpoint, self.name, self.node_id, self.hidden.0)?;
            return Ok(Role::Rbd(Box::new(RbdOptions { target_roots, ..options })));
        }
        if self.attach_limit < -1 || self.max_volumes < 0 || self.max_size < 0 || self.max_size_node < 0 {
            return Err(refuse(
                "attach-limit, maxvolumespernode, max-volume-size",
                "must not be negative".to_owned(),
            ));
        }
        let block_type = match self.block_type.as_str() {
            "FIXED_LENGTH" => BlockType::Fixed,
            "VARIABLE_LENGTH" => BlockType::Variable,
            other => {
                let reason = format!("{other:?} is neither FIXED_LENGTH nor VARIABLE_LENGTH");
                return Err(refuse("snapshot-metadata-block-type", reason));
            }
        };
        Ok(Role::Driver(Box::new(Options {
            endpoint,
            name: self.name,
            node_id: self.node_id,
            state_folder: PathBuf::from(self.state_folder),
            max_volumes: self.max_volumes,
            attach_limit: self.attach_limit,
            attach: self.attach,
            capacity: self.capacity.0,
            max_size: self.max_size,
            max_size_node: if self.max_size_node == 0 { self.max_size } else { self.max_size_node },
            topology: self.topology,
            expansion: self.expansion && self.node_expansion,
            controller_expansion: !self.no_controller_expansion,
            node_expansion: !self.no_node_expansion,
            online_expansion: !self.no_online_expansion,
            modify: self.modify,
            mutable_names: self.mutable_names.0,
            list_snapshots: self.list_snapshots,
            metadata: self.metadata,
            block_type,
            strict: self.strict,
            ephemeral: self.ephemeral,
            hidden: self.hidden.0,
            sparse: self.sparse,
            target_roots,
        })))
    }
}

fn check_text(flag: &str, value: &str, limit: usize) -> Result<(), Exit> {
    if value.is_empty() {
        return Err(Exit::refuse(format!("--{flag} is required")));
    }
    if value.len() > limit {
        return Err(Exit::refuse(format!("--{flag} may have at most {limit} bytes")));
    }
    Ok(())
}

/// The specification's form of a plugin's name; callers refuse any other.
fn check_name(name: &str) -> Result<(), Exit> {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inside = name.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c));
    if ends(name.chars().next()) && ends(name.chars().last()) && inside {
        return Ok(());
    }
    Err(Exit::refuse(format!(
        "--drivername: {name:?} must be letters, digits, dashes and dots, and begin and end with a letter or digit"
    )))
}

/// A misspelt name would hide nothing, unnoticed.
fn check_hidden(names: &BTreeSet<String>) -> Result<(), Exit> {
    use v1::controller_service_capability::rpc::Type as ControllerType;
    use v1::node_service_capability::rpc::Type as NodeType;
    use v1::plugin_capability::service::Type as PluginType;
    let is_known = |name: &String| {
        ControllerType::from_str_name(name).is_some()
            || NodeType::from_str_name(name).is_some()
            || PluginType::from_str_name(name).is_some()
            // Of CSI 1.12: a command line that hid it stays good, and it is never advertised.
            || name == "VOLUME_CONDITION"
    };
    match names.iter().find(|name| !is_known(name)) {
        Some(name) => {
            Err(Exit::refuse(format!("--hidden-capabilities: {name:?} is no capability of CSI 1.13")))
        }
        None => Ok(()),
    }
}

/// The flag reader takes the last of several; for some flags all of them count.
fn merge_repeated(args: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut values: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let body = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')).unwrap_or_default();
        let (name, value) = body.split_once('=').map_or((body, None), |(name, value)| (name, Some(value)));
        match (REPEATED.into_iter().find(|repeated| *repeated == name), value) {
            (Some(name), Some(value)) => values.entry(name).or_default().push(value.to_owned()),
            (Some(name), None) => match args.next() {
                Some(value) => values.entry(name).or_default().push(value),
                // Left for the reader to complain about.
                None => kept.push(arg),
            },
            (None, _) => kept.push(arg),
        }
    }
    // In front: whatever ends the flags must not hide them.
    let merged = values.into_iter().map(|(name, values)| format!("--{name}={}", values.join(",")));
    merged.chain(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<Role, Exit> {
        parse("mooring-driver", args.iter().map(|arg| (*arg).to_owned())).map(|(role, _)| role)
    }

    fn options(args: &[&str]) -> Options {
        match read(&[&["--nodeid=n"], args].concat()).unwrap() {
            Role::Driver(options) => *options,
            other => panic!("a hostpath driver was asked for, not {other:?}"),
        }
    }

    #[test]
    fn defaults_are_the_go_drivers() {
        let options = options(&[]);
        assert_eq!(options.endpoint.to_string(), "unix:///tmp/csi.sock");
        assert_eq!((options.name.as_str(), options.max_size), ("hostpath.csi.k8s.io", 1 << 40));
        assert_eq!(options.max_size_node, 1 << 40);
        assert!(options.topology && options.expansion && options.list_snapshots);
        assert!(
            !options.attach && !options.modify && !options.metadata && !options.strict && !options.sparse
        );
    }

    #[test]
    fn repeated_flags_add_up_and_the_last_of_a_kind_wins() {
        let options = options(&[
            "--capacity=slow=10Gi",
            "-capacity",
            "fast=1Gi",
            "--capacity=slow=20Gi",
            "--accepted-mutable-parameter-names=a,b",
            "--accepted-mutable-parameter-names=c",
        ]);
        let expected = [("fast", 1_i64 << 30), ("slow", 20 << 30)];
        assert_eq!(options.capacity, expected.map(|(kind, size)| (kind.to_owned(), size)).into());
        assert_eq!(options.mutable_names.len(), 3);
    }

    #[test]
    fn either_expansion_switch_turns_expansion_off() {
        assert!(!options(&["--node-expand-required=false"]).expansion);
        assert!(!options(&["--enable-volume-expansion=false"]).expansion);
    }

    #[test]
    fn capabilities_of_1_12_and_1_13_can_be_hidden() {
        let names = [
            "VOLUME_CONDITION",
            "GET_VOLUME_HEALTH",
            "LIST_VOLUME_HEALTH",
            "GET_STORAGE_HEALTH",
            "SNAPSHOT_ACCESSIBILITY_CONSTRAINTS",
        ];
        let options = options(&[&format!("--hidden-capabilities={}", names.join(","))]);
        assert_eq!(options.hidden, names.map(str::to_owned).into());
        assert_eq!((options.topology().is_some(), options.snapshot_topology()), (true, None));
    }

    #[test]
    fn the_backend_chooses_name_and_flags() {
        let rbd = |args: &[&str]| match read(&[&["--nodeid=n", "--backend=rbd"], args].concat()).unwrap() {
            Role::Rbd(options) => *options,
            other => panic!("{other:?}"),
        };
        let plain = rbd(&[]);
        assert_eq!((plain.name.as_str(), plain.instance.as_str()), ("rbd.csi.ceph.com", "default"));
        assert_eq!((plain.patience.as_secs(), plain.soft_depth, plain.hard_depth), (10, 4, 8));
        assert!(!plain.nameless && plain.secret_folder.is_none());
        assert_eq!(rbd(&["--drivername=a.b"]).name, "a.b");
    }

    #[test]
    fn bad_values_name_the_flag_and_leave_with_1_or_2() {
        for (args, code, word) in [
            (&["--endpoint=x"][..], 1, "endpoint"),
            (&["--nodeid="], 1, "nodeid"),
            (&["--snapshot-metadata-block-type=X", "--nodeid=n"], 1, "snapshot-metadata-block-type"),
            (&["--drivername=-bad", "--nodeid=n"], 1, "drivername"),
            (&["--drivername=a/b", "--nodeid=n"], 1, "drivername"),
            (&["--hidden-capabilities=NOPE", "--nodeid=n"], 1, "NOPE"),
            (&["--hidden-capabilities=GET_VOLUME_HEALTHY", "--nodeid=n"], 1, "CSI 1.13"),
            (&["--target-root=var/lib/kubelet", "--nodeid=n"], 1, "target-root"),
            (&["--backend=nfs", "--nodeid=n"], 1, "neither hostpath nor rbd"),
            (&["--backend=rbd", "--sparse", "--nodeid=n"], 1, "--sparse: does nothing"),
            (&["--instanceid=x", "--nodeid=n"], 1, "--instanceid: does nothing"),
            (&["--backend=rbd", "--instanceid=a.b", "--nodeid=n"], 1, "--instanceid"),
            (&["--backend=rbd", "--ceph-timeout=10ms", "--nodeid=n"], 1, "--ceph-timeout"),
            (&["--backend=rbd", "--rbdsoftmaxclonedepth=9", "--nodeid=n"], 1, "--rbdsoftmaxclonedepth"),
            (&["--capacity=fast", "--nodeid=n"], 2, "kind=quantity"),
            (&["--no-such-flag"], 2, "no-such-flag"),
        ] {
            let exit = read(args).unwrap_err();
            assert_eq!(exit.code, code, "{args:?}");
            assert!(exit.stderr.contains(word), "{args:?}: {}", exit.stderr);
        }
    }
}
