//! Reads `--controllers`.

use csi::v1::controller_service_capability::rpc::Type as Rpc;
use csi::v1::plugin_capability::service::Type as Service;
use process::Program;
use thiserror::Error;

/// A sidecar that can share the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Controller {
    Provisioner,
    Attacher,
    Resizer,
}

impl Controller {
    /// Every one, in the order in which leases are taken.
    pub(crate) const ALL: [Self; 3] = [Self::Provisioner, Self::Attacher, Self::Resizer];

    /// Its name in `--controllers`, and what its flags begin with.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Provisioner => "provisioner",
            Self::Attacher => "attacher",
            Self::Resizer => "resizer",
        }
    }

    /// The sidecar.
    pub(crate) fn program(self) -> Program {
        match self {
            Self::Provisioner => provisioner::PROGRAM,
            Self::Attacher => attacher::PROGRAM,
            Self::Resizer => resizer::PROGRAM,
        }
    }

    /// Whether a driver that answers so has work for it.
    ///
    /// `Differs:` with `--controllers=*`, csi-attacher does not run beside a driver that cannot publish volumes, nor csi-resizer beside
    /// one that expands them on nodes only; each of them runs alone as upstream's does. A line of the log says so. Name them if they are
    /// wanted: VolumeAttachments of a driver whose CSIDriver object does not say `attachRequired: false` need csi-attacher.
    fn is_called_for(self, (plugin, controller): &process::Capabilities) -> bool {
        let has = |rpc| plugin.has(Service::ControllerService) && controller.has(rpc);
        match self {
            Self::Provisioner => has(Rpc::CreateDeleteVolume),
            Self::Attacher => has(Rpc::PublishUnpublishVolume),
            Self::Resizer => has(Rpc::ExpandVolume) || has(Rpc::ModifyVolume),
        }
    }
}

/// What `--controllers` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    /// `*`: all that the driver's capabilities call for.
    all: bool,
    named: Vec<Controller>,
    /// Written with a dash in front.
    not: Vec<Controller>,
}

/// `--controllers` cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum ChoiceError {
    #[error(
        "--controllers: there is no {name:?}; choose from {}, or * for all that the driver needs",
        known()
    )]
    Unknown { name: String },
    #[error(
        "--controllers: snapshotter is not in this release; run csi-snapshotter beside this process and remove it from the list"
    )]
    NotYet,
    #[error("--controllers: {name} runs on nodes; give it a process of its own there")]
    OnNodes { name: String },
    #[error("--controllers names no sidecar; choose from {}, or * for all that the driver needs", known())]
    Nothing,
}

fn known() -> String {
    Controller::ALL.map(Controller::name).join(", ")
}

impl Choice {
    /// Reads a comma-separated list such as `provisioner,attacher` or `*,-attacher`.
    pub(crate) fn parse(text: &str) -> Result<Self, ChoiceError> {
        let mut choice = Self::default();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let (name, list) = match word.strip_prefix('-') {
                Some(name) => (name, &mut choice.not),
                None => (word, &mut choice.named),
            };
            match Controller::ALL.into_iter().find(|controller| controller.name() == name) {
                Some(controller) => list.push(controller),
                None if word == "*" => choice.all = true,
                None if name == "snapshotter" => return Err(ChoiceError::NotYet),
                None if NODE_SIDE.iter().any(|(known, _)| *known == name) => {
                    return Err(ChoiceError::OnNodes { name: name.to_owned() });
                }
                None => return Err(ChoiceError::Unknown { name: name.to_owned() }),
            }
        }
        match choice.all || choice.named.iter().any(|named| !choice.not.contains(named)) {
            true => Ok(choice),
            false => Err(ChoiceError::Nothing),
        }
    }

    /// The sidecars to run for a driver with these capabilities, in the order of their leases.
    pub(crate) fn of(&self, can: &process::Capabilities) -> Vec<Controller> {
        let chosen = |controller: &Controller| {
            let named = self.named.contains(controller) || (self.all && controller.is_called_for(can));
            named && !self.not.contains(controller)
        };
        Controller::ALL.into_iter().filter(chosen).collect()
    }

    /// The sidecars that `*` would have run if the driver had another capability.
    pub(crate) fn left_out(&self, can: &process::Capabilities) -> Vec<Controller> {
        let chosen = self.of(can);
        let left = |each: &Controller| self.all && !chosen.contains(each) && !self.not.contains(each);
        Controller::ALL.into_iter().filter(left).collect()
    }
}

/// What upstream's combined sidecar runs on nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeSide {
    Registrar,
    LivenessProbe,
    Both,
}

const NODE_SIDE: [(&str, NodeSide); 2] =
    [("node-driver-registrar", NodeSide::Registrar), ("livenessprobe", NodeSide::LivenessProbe)];

/// A command line whose `--controllers` names sidecars of a node only: who runs, and with which words.
pub(crate) fn node_side(args: &[String]) -> Option<(NodeSide, Vec<String>)> {
    let at = args.iter().position(|word| word == "--controllers" || word.starts_with("--controllers="))?;
    let (value, words) = match args.get(at)?.strip_prefix("--controllers=") {
        Some(value) => (value, 1),
        None => (args.get(at + 1)?.as_str(), 2),
    };
    let known = |name: &str| NODE_SIDE.iter().find(|(known, _)| *known == name.trim()).map(|(_, side)| *side);
    let named: Option<Vec<NodeSide>> = value.split(',').map(known).collect();
    let side = match named?.as_slice() {
        [one] => *one,
        [one, other] if one != other => NodeSide::Both,
        _ => return None,
    };
    let mut rest = args.to_vec();
    rest.drain(at..at + words);
    Some((side, rest.into_iter().map(node_flag).collect()))
}

/// The flags of one sidecar have its name in front, as those of controllers have.
fn node_flag(word: String) -> String {
    let own =
        NODE_SIDE.iter().find_map(|(name, _)| word.strip_prefix("--")?.strip_prefix(name)?.strip_prefix('-'));
    own.map_or_else(|| word.clone(), |flag| format!("--{flag}"))
}

#[cfg(test)]
mod tests {
    use csi::capability::{ControllerCapabilities, PluginCapabilities};

    use super::*;
    use Controller::{Attacher, Provisioner, Resizer};

    fn driver(rpcs: &[Rpc]) -> process::Capabilities {
        let plugin = PluginCapabilities {
            services: [Service::ControllerService].into_iter().collect(),
            ..Default::default()
        };
        (plugin, rpcs.iter().copied().collect::<ControllerCapabilities>())
    }

    #[test]
    fn list_names_sidecars_and_a_star_asks_the_driver() {
        let makes = driver(&[Rpc::CreateDeleteVolume]);
        let both = driver(&[Rpc::CreateDeleteVolume, Rpc::PublishUnpublishVolume]);
        let grows = driver(&[Rpc::ExpandVolume]);
        let none = (PluginCapabilities::default(), both.1);
        for (text, can, expected) in [
            ("attacher,provisioner", &makes, &[Provisioner, Attacher][..]),
            (" attacher ,", &none, &[Attacher]),
            ("*", &makes, &[Provisioner]),
            ("*", &both, &[Provisioner, Attacher]),
            ("*", &none, &[]),
            ("*", &grows, &[Resizer]),
            ("resizer,provisioner", &none, &[Provisioner, Resizer]),
            ("*,-attacher", &both, &[Provisioner]),
            ("attacher,*", &makes, &[Provisioner, Attacher]),
        ] {
            assert_eq!(Choice::parse(text).unwrap().of(can), expected, "{text}");
        }
        for (text, expected) in
            [("*,-resizer", &[Attacher][..]), ("provisioner", &[]), ("*,attacher", &[Resizer])]
        {
            assert_eq!(Choice::parse(text).unwrap().left_out(&makes), expected, "{text}");
        }
    }

    #[test]
    fn list_that_cannot_be_followed_is_refused_by_name() {
        for (text, expected) in [
            ("", ChoiceError::Nothing),
            ("-attacher", ChoiceError::Nothing),
            ("attacher,-attacher", ChoiceError::Nothing),
            ("attacher,health", ChoiceError::Unknown { name: "health".into() }),
            ("attacher,snapshotter", ChoiceError::NotYet),
            ("attacher,livenessprobe", ChoiceError::OnNodes { name: "livenessprobe".into() }),
        ] {
            assert_eq!(Choice::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn list_of_node_sidecars_runs_those() {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for (line, side) in [
            ("--a=1 --controllers=node-driver-registrar --b", Some(NodeSide::Registrar)),
            ("--a=1 --controllers livenessprobe --b", Some(NodeSide::LivenessProbe)),
            ("--a=1 --controllers=livenessprobe,node-driver-registrar --b", Some(NodeSide::Both)),
            ("--a=1 --controllers=livenessprobe,attacher --b", None),
            ("--a=1 --controllers=attacher --b", None),
            ("--a=1 --b", None),
        ] {
            assert_eq!(node_side(&words(line)), side.map(|side| (side, words("--a=1 --b"))), "{line}");
        }
        let line = "--controllers=livenessprobe --livenessprobe-probe-timeout=3s --livenessprobe";
        let expected = Some((NodeSide::LivenessProbe, words("--probe-timeout=3s --livenessprobe")));
        assert_eq!(node_side(&words(line)), expected);
    }
}
