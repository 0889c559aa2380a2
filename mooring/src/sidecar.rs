//! Finds the sidecar that a command line names, and runs it.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use base::flag::standard::LoggingFlags;
use base::flag::{Exit, Parsed};

use crate::controller::{self, NodeSide, node_side};

/// The name that upstream plans for its combined sidecar.
const CSI_SIDECARS: &str = "csi-sidecars";

/// The name by which kubectl finds us as `kubectl mooring`.
const KUBECTL_PLUGIN: &str = "kubectl-mooring";

/// The sidecars of this release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sidecar {
    Provisioner,
    Attacher,
    Resizer,
    Registrar,
    LivenessProbe,
    /// Registrar and liveness probe in one process; ours.
    Node,
    /// The sidecars of the controller in one process; ours.
    Controller,
}

impl Sidecar {
    const ALL: [Self; 7] = [
        Self::Provisioner,
        Self::Attacher,
        Self::Resizer,
        Self::Registrar,
        Self::LivenessProbe,
        Self::Node,
        Self::Controller,
    ];

    /// The name of the Go sidecar's binary; our own for what has none.
    fn name(self) -> &'static str {
        match self {
            Self::Provisioner => provisioner::PROGRAM.name,
            Self::Attacher => attacher::PROGRAM.name,
            Self::Resizer => resizer::PROGRAM.name,
            Self::Registrar => "csi-node-driver-registrar",
            Self::LivenessProbe => "livenessprobe",
            Self::Node => "node",
            Self::Controller => "controller",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Provisioner => "makes volumes for claims and deletes them (external-provisioner 6.4)",
            Self::Attacher => "attaches volumes to nodes and detaches them (external-attacher 4.13)",
            Self::Resizer => "grows volumes and changes their attributes (external-resizer 2.3)",
            Self::Registrar => "tells the kubelet where the driver is (node-driver-registrar 2.18)",
            Self::LivenessProbe => "asks the driver whether it is alive (livenessprobe 2.20)",
            Self::Node => "csi-node-driver-registrar and livenessprobe in one process",
            Self::Controller => {
                "csi-provisioner, csi-attacher and csi-resizer in one process; also as csi-sidecars (KEP-4958)"
            }
        }
    }

    fn by_name(name: &str) -> Option<Self> {
        if name == CSI_SIDECARS {
            return Some(Self::Controller);
        }
        Self::ALL.into_iter().find(|sidecar| sidecar.name() == name)
    }

    /// A command line of this sidecar. Upstream's combined sidecar runs those of a node too, by `--controllers`.
    fn chosen(self, program: String, args: Vec<String>) -> Chosen {
        let (sidecar, args) = match (self, node_side(&args)) {
            (Self::Controller, Some((NodeSide::Registrar, args))) => (Self::Registrar, args),
            (Self::Controller, Some((NodeSide::LivenessProbe, args))) => (Self::LivenessProbe, args),
            (Self::Controller, Some((NodeSide::Both, args))) => (Self::Node, args),
            (Self::Controller, None) | (_, _) => (self, args),
        };
        Chosen::Sidecar { sidecar, program, args }
    }

    fn parse(self, program: &str, args: Vec<String>) -> Result<Parsed, Exit> {
        match self {
            Self::Provisioner => (provisioner::PROGRAM.parse)(program, args),
            Self::Attacher => (attacher::PROGRAM.parse)(program, args),
            Self::Resizer => (resizer::PROGRAM.parse)(program, args),
            Self::Registrar => registrar::parse_registrar(program, args),
            Self::LivenessProbe => registrar::parse_probe(program, args),
            Self::Node => registrar::parse_node(program, args),
            Self::Controller => controller::parse(program, args),
        }
    }

    /// Runs the sidecar until it ends.
    pub(crate) fn run(self, program: &str, args: Vec<String>) -> ExitCode {
        let parsed = match self.parse(program, args) {
            Ok(parsed) => parsed,
            Err(exit) => exit.leave(),
        };
        base::log::init(parsed.read::<LoggingFlags>().options());
        for notice in parsed.notices() {
            base::warn!(notice);
        }
        base::info!("Version"; "program" => self.name(), "version" => env!("CARGO_PKG_VERSION"));
        // One thread: a sidecar waits far more than it computes, and threads cost memory.
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => base::log::exit(error, "cannot start the async runtime"),
        };
        let code = runtime.block_on(async {
            match self {
                Self::Provisioner => (provisioner::PROGRAM.main)(&parsed).await,
                Self::Attacher => (attacher::PROGRAM.main)(&parsed).await,
                Self::Resizer => (resizer::PROGRAM.main)(&parsed).await,
                Self::Registrar => registrar::register(&parsed).await,
                Self::LivenessProbe => registrar::probe(&parsed).await,
                Self::Node => registrar::node(&parsed).await,
                Self::Controller => controller::main(&parsed).await,
            }
        });
        runtime.shutdown_background();
        ExitCode::from(code)
    }
}

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// Run this sidecar.
    Sidecar { sidecar: Sidecar, program: String, args: Vec<String> },
    /// Make in-tree volumes CSI volumes, or show what becomes of them.
    Migrate { args: Vec<String> },
    /// Say why an object is not ready; `program` is how the user called us.
    Explain { program: String, args: Vec<String> },
    /// Make the driver's CSIDriver object.
    CsiDriver { args: Vec<String> },
    /// Print this and exit.
    Text { text: String, code: u8 },
}

/// Reads `argv`, program name first.
pub(crate) fn choose(argv: impl IntoIterator<Item = OsString>) -> Chosen {
    let words: Result<Vec<String>, OsString> = argv.into_iter().map(OsString::into_string).collect();
    let mut words = match words {
        Ok(words) => words.into_iter(),
        Err(word) => {
            return Chosen::Text { text: format!("mooring: the argument {word:?} is not UTF-8\n"), code: 2 };
        }
    };
    let program = words.next().unwrap_or_default();
    let called =
        Path::new(&program).file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    if let Some(sidecar) = Sidecar::by_name(&called) {
        return sidecar.chosen(program, words.collect());
    }
    match words.next().as_deref() {
        None => Chosen::Text { text: format!("mooring: name a sidecar\n\n{}", help()), code: 2 },
        Some("--help" | "-h" | "-help" | "help") => Chosen::Text { text: help(), code: 0 },
        Some("migrate") => Chosen::Migrate { args: words.collect() },
        Some("explain") => {
            let program =
                if called == KUBECTL_PLUGIN { "kubectl mooring explain" } else { "mooring explain" };
            Chosen::Explain { program: program.to_owned(), args: words.collect() }
        }
        Some("csidriver") => Chosen::CsiDriver { args: words.collect() },
        Some("--version" | "version") => {
            Chosen::Text { text: format!("mooring v{}\n", env!("CARGO_PKG_VERSION")), code: 0 }
        }
        Some(word) => match Sidecar::by_name(word) {
            Some(sidecar) => sidecar.chosen(word.to_owned(), words.collect()),
            None => {
                Chosen::Text { text: format!("mooring: unknown sidecar {word:?}\n\n{}", help()), code: 2 }
            }
        },
    }
}

fn help() -> String {
    let mut text = String::from(
        "mooring: the Kubernetes CSI sidecar controllers in one executable\n\n\
         Usage: mooring SIDECAR [FLAGS]      or a link to mooring named as the sidecar\n\
         \x20      mooring SIDECAR --help       the sidecar's flags\n\n\
         Sidecars:\n",
    );
    for sidecar in Sidecar::ALL {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {:<27}{}", sidecar.name(), sidecar.about());
    }
    text.push_str(
        "\nCommands:\n  migrate                    makes in-tree volumes CSI volumes; --dry-run shows what they become\n  \
         explain                    says why a claim, volume, attachment or snapshot is not ready\n  \
         csidriver                  creates or corrects the driver's CSIDriver object\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(words: &str) -> Vec<OsString> {
        words.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn link_named_as_a_sidecar_is_that_sidecar() {
        let chosen = choose(argv("/usr/bin/csi-provisioner --version"));
        let expected = Chosen::Sidecar {
            sidecar: Sidecar::Provisioner,
            program: "/usr/bin/csi-provisioner".into(),
            args: vec!["--version".into()],
        };
        assert_eq!(chosen, expected);
    }

    #[test]
    fn first_argument_names_the_sidecar_otherwise() {
        let Chosen::Sidecar { sidecar, args, .. } = choose(argv("mooring csi-provisioner --v=5")) else {
            panic!()
        };
        assert_eq!((sidecar, args), (Sidecar::Provisioner, vec!["--v=5".to_owned()]));
    }

    #[test]
    fn combined_sidecar_is_the_controller_or_a_node_sidecar() {
        let sidecar = |words: &str| match choose(argv(words)) {
            Chosen::Sidecar { sidecar, .. } => sidecar,
            _ => panic!("{words}"),
        };
        assert_eq!(sidecar("/bin/csi-sidecars --controllers=attacher"), Sidecar::Controller);
        assert_eq!(sidecar("mooring controller"), Sidecar::Controller);
        let node = "csi-sidecars --controllers=node-driver-registrar --kubelet-registration-path=/p";
        assert_eq!(sidecar(node), Sidecar::Registrar);
    }

    #[test]
    fn commands_have_flags_of_their_own() {
        let expected = Chosen::Migrate { args: vec!["--dry-run".to_owned()] };
        assert_eq!(choose(argv("mooring migrate --dry-run")), expected);
        let expected = Chosen::CsiDriver { args: vec!["--once".to_owned()] };
        assert_eq!(choose(argv("mooring csidriver --once")), expected);
        let explain = |program: &str| Chosen::Explain {
            program: program.to_owned(),
            args: vec!["pvc".to_owned(), "data".to_owned()],
        };
        assert_eq!(choose(argv("mooring explain pvc data")), explain("mooring explain"));
        assert_eq!(choose(argv("/bin/kubectl-mooring explain pvc data")), explain("kubectl mooring explain"));
        let Chosen::Text { text, code: 0 } = choose(argv("mooring --help")) else { panic!() };
        assert!(text.contains("  migrate ") && text.contains("\n  csidriver "), "{text}");
    }

    #[test]
    fn help_lists_every_sidecar_and_an_unknown_one_exits_with_2() {
        for (words, expected) in [("mooring", 2), ("mooring --help", 0)] {
            let Chosen::Text { text, code } = choose(argv(words)) else { panic!() };
            assert_eq!(code, expected, "{words}");
            assert!(Sidecar::ALL.iter().all(|sidecar| text.contains(sidecar.name())));
        }
        assert!(matches!(choose(argv("mooring csi-nothing")), Chosen::Text { code: 2, .. }));
    }
}
