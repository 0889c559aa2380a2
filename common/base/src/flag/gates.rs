//! Feature gates: `--feature-gates=A=true,B=false`, repeatable.
//!
//! `AllAlpha` and `AllBeta` set every gate of that stage that is not named itself. Upstream's sidecars link
//! the generic API-server library. Its gates are accepted without effect, so
//! that one flag line can serve a whole control plane. Source: docs/upstream/conventions.md,
//! "Feature gates"; docs/upstream/provisioner.md, "Feature gates".

use std::collections::BTreeMap;

use super::value::{Value, ValueError, parse_go_bool};

/// How mature a gated feature is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Off unless asked for; may go.
    Alpha,
    /// Usually on; may change.
    Beta,
    /// Done; the gate is about to go.
    Ga,
    /// The feature itself is about to go.
    Deprecated,
    /// Ours, and off unless named: upstream has no such gate, so the groups do not set it.
    Own,
    /// The gate is gone. Charts still name it, so it is accepted without effect.
    Removed,
}

/// One gate that a sidecar knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gate {
    /// As on the command line, e.g. `Topology`.
    pub name: &'static str,
    /// Its value unless set.
    pub default: bool,
    /// Its maturity.
    pub stage: Stage,
    /// Whether only the default may be named any more.
    pub locked: bool,
}

impl Gate {
    /// An alpha gate, off by default.
    pub const fn alpha(name: &'static str) -> Self {
        Self { name, default: false, stage: Stage::Alpha, locked: false }
    }

    /// A beta gate with its default.
    pub const fn beta(name: &'static str, default: bool) -> Self {
        Self { name, default, stage: Stage::Beta, locked: false }
    }

    /// A GA gate, on by default, that may still be switched off.
    pub const fn ga(name: &'static str) -> Self {
        Self { name, default: true, stage: Stage::Ga, locked: false }
    }

    /// A gate that upstream's sidecar does not have, off by default.
    pub const fn own(name: &'static str) -> Self {
        Self { name, default: false, stage: Stage::Own, locked: false }
    }

    /// A gate that is gone upstream.
    ///
    /// Differs: the Go sidecars refuse to start when a chart still names such a gate. Ours log one line.
    pub const fn removed(name: &'static str) -> Self {
        Self { name, default: true, stage: Stage::Removed, locked: false }
    }
}

/// Why the gates cannot be set as asked (exit code 1).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// Nobody knows this name.
    #[error("unrecognized feature gate: {name} (--feature-gates knows {known})")]
    Unknown {
        /// The name as given.
        name: String,
        /// The gates there are.
        known: String,
    },
    /// Only its default is allowed.
    #[error(
        "cannot set feature gate {name} to {value}, feature is locked to {}: remove it from --feature-gates",
        !value
    )]
    Locked {
        /// The gate.
        name: String,
        /// The value asked for.
        value: bool,
    },
}

/// The gates of a sidecar and how they are set.
#[derive(Debug, Clone, Default)]
pub struct FeatureGates {
    known: Vec<Gate>,
    set: BTreeMap<String, bool>,
}

impl FeatureGates {
    /// All gates at their defaults.
    pub fn new(known: Vec<Gate>) -> Self {
        Self { known, set: BTreeMap::new() }
    }

    /// Whether a known gate is on; an unknown one is off.
    pub fn is_enabled(&self, name: &str) -> bool {
        if let Some(&value) = self.set.get(name) {
            return value;
        }
        let Some(gate) = self.known.iter().find(|gate| gate.name == name) else { return false };
        let group = match gate.stage {
            Stage::Alpha => self.set.get(ALL_ALPHA),
            Stage::Beta => self.set.get(ALL_BETA),
            Stage::Ga | Stage::Deprecated | Stage::Own | Stage::Removed => None,
        };
        group.copied().unwrap_or(gate.default)
    }

    /// Whether the command line named this gate itself.
    pub fn is_set(&self, name: &str) -> bool {
        self.set.contains_key(name)
    }

    /// Sets a gate, as start-up does for features the cluster turns out not to have.
    pub fn set(&mut self, name: &str, value: bool) {
        self.set.insert(name.to_owned(), value);
    }

    /// Takes the texts of every `--feature-gates`, later ones winning, and gives back notices
    /// worth a warning.
    pub(super) fn apply(&mut self, texts: &[String]) -> Result<Vec<String>, GateError> {
        let mut wanted = BTreeMap::new();
        for list in texts {
            wanted.extend(GateList::parse(list).map(|list| list.0).unwrap_or_default());
        }
        let mut notices = Vec::new();
        for (name, value) in wanted {
            if let Some(gate) = self.known.iter().find(|gate| gate.name == name) {
                if gate.locked && gate.default != value {
                    return Err(GateError::Locked { name, value });
                }
                let stage = match gate.stage {
                    Stage::Ga => Some("GA and will be removed in a future release"),
                    Stage::Deprecated => Some("deprecated and will be removed in a future release"),
                    Stage::Removed => Some("gone and changes nothing"),
                    Stage::Alpha | Stage::Beta | Stage::Own => None,
                };
                if let Some(stage) = stage {
                    notices.push(format!("--feature-gates sets {name}={value}: the gate is {stage}"));
                }
            } else if !is_inert(&name) {
                let known =
                    self.known.iter().filter(|gate| gate.stage != Stage::Removed).map(|gate| gate.name);
                let known: Vec<_> = known.chain([ALL_ALPHA, ALL_BETA]).collect();
                return Err(GateError::Unknown { name, known: known.join(", ") });
            }
            self.set.insert(name, value);
        }
        Ok(notices)
    }
}

const ALL_ALPHA: &str = "AllAlpha";
const ALL_BETA: &str = "AllBeta";

/// Help text of the flag: what it takes and the gates there are.
pub(super) fn help(known: &[Gate]) -> String {
    let mut options: Vec<String> = known
        .iter()
        .filter_map(|gate| {
            let stage = match gate.stage {
                Stage::Alpha => "ALPHA",
                Stage::Beta => "BETA",
                Stage::Ga => "GA",
                Stage::Deprecated => "DEPRECATED",
                Stage::Own => "not of AllAlpha",
                Stage::Removed => return None,
            };
            Some(format!("{}=true|false ({stage} - default={})", gate.name, gate.default))
        })
        .collect();
    options.push(format!("{ALL_ALPHA}=true|false (ALPHA - default=false)"));
    options.push(format!("{ALL_BETA}=true|false (BETA - default=false)"));
    options.sort();
    format!("Comma-separated name=true|false pairs, repeatable. Options are:\n{}", options.join("\n"))
}

/// One `K=bool,...` text.
pub(super) struct GateList(BTreeMap<String, bool>);

impl Value for GateList {
    type Initial = &'static str;
    const TYPE: &'static str = "mapStringBool";
    fn parse(text: &str) -> Result<Self, ValueError> {
        let mut gates = BTreeMap::new();
        for pair in text.split(',').filter(|pair| !pair.is_empty()) {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(ValueError::new("malformed pair, expect string=bool"));
            };
            let (name, value) = (name.trim(), value.trim());
            let Some(value) = parse_go_bool(value) else {
                return Err(ValueError::new(format!(
                    "invalid value of {name}: {value}, err: strconv.ParseBool: parsing {}: invalid syntax",
                    crate::log::quote::quoted(value)
                )));
            };
            gates.insert(name.to_owned(), value);
        }
        Ok(GateList(gates))
    }
    fn print(initial: &&'static str) -> String {
        (*initial).to_owned()
    }
}

fn is_inert(name: &str) -> bool {
    name == ALL_ALPHA || name == ALL_BETA || API_SERVER_GATES.binary_search(&name).is_ok()
}

/// The gates of the generic API server library 0.36, sorted: accepted, without effect.
const API_SERVER_GATES: &[&str] = &[
    "APIResponseCompression",
    "APIServerIdentity",
    "APIServerTracing",
    "APIServingWithRoutine",
    "AggregatedDiscoveryRemoveBetaType",
    "AllowParsingUserUIDFromCertAuth",
    "AllowUnsafeMalformedObjectDeletion",
    "AnonymousAuthConfigurableEndpoints",
    "AuthorizeWithSelectors",
    "BtreeWatchCache",
    "CBORServingAndStorage",
    "ConcurrentWatchObjectDecode",
    "ConsistentListFromCache",
    "ConstrainedImpersonation",
    "CoordinatedLeaderElection",
    "DeclarativeValidation",
    "DeclarativeValidationBeta",
    "DeclarativeValidationTakeover",
    "DetectCacheInconsistency",
    "KMSv1",
    "ListFromCacheSnapshot",
    "ManifestBasedAdmissionControlConfig",
    "MutatingAdmissionPolicy",
    "OpenAPIEnums",
    "RemoteRequestHeaderUID",
    "ResilientWatchCacheInitialization",
    "RetryGenerateName",
    "SeparateCacheWatchRPC",
    "ShardedListAndWatch",
    "SizeBasedListCostEstimate",
    "StorageVersionAPI",
    "StorageVersionHash",
    "StreamingCollectionEncodingToJSON",
    "StreamingCollectionEncodingToProtobuf",
    "StructuredAuthenticationConfiguration",
    "StructuredAuthenticationConfigurationEgressSelector",
    "StructuredAuthenticationConfigurationJWKSMetrics",
    "TokenRequestServiceAccountUIDValidation",
    "UnauthenticatedHTTP2DOSMitigation",
    "UnknownVersionInteroperabilityProxy",
    "WatchCacheInitializationPostStartHook",
    "WatchList",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inert_gates_are_sorted_for_the_search() {
        assert!(API_SERVER_GATES.is_sorted());
        assert!(is_inert("WatchList") && !is_inert("HonorPVReclaimPolicy"));
    }
}
