//! One provisioner on each node (`--node-deployment`): what it knows of its node, and which claims and volumes are its own
//! (docs/upstream/provisioner.md, "Node deployment").

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use csi::topology::{Term, first_on_node, flatten};
use kubernetes::object::annotation::SELECTED_NODE;
use kubernetes::object::{BindingMode, Claim, Class, NODE_NAME, Volume, is_in};

use crate::topology::allowed_terms;

/// The node that a provisioner is for.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    /// Its name.
    pub name: Box<str>,
    /// Where it is, as NodeGetInfo says.
    pub segments: BTreeMap<String, String>,
    /// Whether claims with immediate binding are served.
    pub immediate: bool,
    /// First pause before such a claim is made one's own.
    pub base_delay: Duration,
    /// Longest pause.
    pub max_delay: Duration,
}

/// Whose a claim is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// This provisioner's.
    Ours,
    /// Another node's, or nobody's yet.
    Others,
    /// Whoever is first: any node that has room may make the claim its own.
    Open,
}

impl NodeSettings {
    /// The node's segment.
    pub(crate) fn segment(&self) -> Term {
        Term::new(self.segments.clone())
    }

    /// Whether another node is selected for the claim, whatever its class says.
    pub(crate) fn is_selected_elsewhere(&self, claim: &Claim) -> bool {
        let selected = claim.meta.annotations.get(SELECTED_NODE).unwrap_or_default();
        !selected.is_empty() && *selected != *self.name
    }

    /// Whose a claim of this class is.
    pub(crate) fn ownership(&self, claim: &Claim, class: &Class) -> Ownership {
        if self.is_selected_elsewhere(claim) {
            return Ownership::Others;
        }
        let selected = claim.meta.annotations.get(SELECTED_NODE).unwrap_or_default();
        if !selected.is_empty() {
            return Ownership::Ours;
        }
        let allowed = allowed_terms(class);
        let fits = allowed.is_empty() || first_on_node(&flatten(&allowed), &self.segment()).is_some();
        if class.binding == BindingMode::Immediate && self.immediate && fits {
            Ownership::Open
        } else {
            Ownership::Others
        }
    }

    /// The node's segment, and its name.
    fn place(&self) -> BTreeMap<String, String> {
        let mut place = self.segments.clone();
        place.insert(NODE_NAME.to_owned(), self.name.to_string());
        place
    }

    /// Whether the volume can be reached from the node. Without segments of the node every volume can.
    ///
    /// `Differs:` upstream does not look at `matchFields`, so that each node deletes a volume that only the named one can reach.
    pub(crate) fn reaches(&self, volume: &Volume) -> bool {
        let Some(places) = volume.segments.as_ref().filter(|_| !self.segments.is_empty()) else {
            return true;
        };
        let own = self.place();
        places.iter().any(|place| is_in(place, &own))
    }

    /// Whether the volume is certainly another node's: each of its places names another value for one of this node's keys.
    pub(crate) fn is_out_of_reach(&self, volume: &Volume) -> bool {
        let own = self.place();
        let differs = |part: &str| {
            let pair = part.split_once('=');
            pair.is_some_and(|(key, value)| own.get(key).is_some_and(|own| own != value))
        };
        let is_there = |place: &Arc<str>| place.split(',').any(differs);
        volume.segments.as_ref().is_some_and(|places| !places.is_empty() && places.iter().all(is_there))
    }

    /// How long to wait before a claim is made one's own, after so many lost tries. `random` is between 0 and 1.
    pub(crate) fn delay(&self, tries: u32, random: f64) -> Duration {
        let factor = 1_u32.checked_shl(tries).unwrap_or(u32::MAX);
        let whole =
            self.base_delay.checked_mul(factor).map_or(self.max_delay, |delay| delay.min(self.max_delay));
        whole.saturating_sub(self.base_delay.mul_f64(random))
    }
}

/// `base-node`, shortened to a label's length: the base is cut and its hash put in, or all but the base becomes a hash.
pub(crate) fn label_with_node(base: &str, node: &str) -> String {
    const LONGEST: usize = 63;
    /// Eight digits and a dash on each side.
    const HASH: usize = 10;
    let whole = if base.is_empty() { node.to_owned() } else { format!("{base}-{node}") };
    if whole.len() <= LONGEST {
        return whole;
    }
    match LONGEST.checked_sub(HASH + node.len()) {
        Some(length @ 1..) if !base.is_empty() => {
            let cut: String = base.chars().take(length).collect();
            format!("{cut}-{:08x}-{node}", fnv1a_32(base))
        }
        _ if base.is_empty() => format!("{:08x}", fnv1a_32(&whole)),
        _ => {
            let cut: String = base.chars().take(LONGEST + 1 - HASH).collect();
            format!("{cut}-{:08x}", fnv1a_32(&whole))
        }
    }
}

fn fnv1a_32(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{claim_from, class_from, node, volume};
    use serde_json::json;

    #[test]
    fn claim_is_owned_by_its_node_or_open_to_all() {
        use Ownership::*;
        let late = class_from(json!({"volumeBindingMode": "WaitForFirstConsumer"}));
        let now = class_from(json!({"volumeBindingMode": "Immediate"}));
        let allows = |zone: &str| {
            let terms = json!([{"matchLabelExpressions": [{"key": "zone", "values": [zone, "z9"]}]}]);
            class_from(json!({"volumeBindingMode": "Immediate", "allowedTopologies": terms}))
        };
        let without = NodeSettings { immediate: false, ..node() };
        for (name, settings, selected, class, expected) in [
            ("right node selected", node(), "node-1", &late, Ours),
            ("wrong node selected", node(), "node-2", &late, Others),
            ("no node selected", node(), "", &late, Others),
            ("immediate, right node selected", node(), "node-1", &now, Ours),
            ("immediate, no node selected", node(), "", &now, Open),
            ("immediate is off", without.clone(), "", &now, Others),
            ("immediate is off, right node selected", without, "node-1", &now, Ours),
            ("allowed topologies okay", node(), "", &allows("z1"), Open),
            ("allowed topologies not okay", node(), "", &allows("z2"), Others),
        ] {
            let claim = claim_from(json!({SELECTED_NODE: selected}), json!({}));
            assert_eq!(settings.ownership(&claim, class), expected, "{name}");
        }
    }

    #[test]
    fn volumes_of_other_nodes_are_out_of_reach() {
        let of = |terms: serde_json::Value| {
            let object = json!({
                "metadata": {"name": "pv"},
                "spec": {"nodeAffinity": terms, "csi": {"driver": "test-driver"}},
            });
            volume(object)
        };
        let on = |pairs: &[(&str, &str)]| {
            let is = |(key, value): &(&str, &str)| json!({"key": key, "operator": "In", "values": [value]});
            json!({"matchExpressions": pairs.iter().map(is).collect::<Vec<_>>()})
        };
        let required = |terms: serde_json::Value| json!({"required": {"nodeSelectorTerms": terms}});
        for (name, affinity, expected) in [
            ("everywhere", json!(null), true),
            ("not required", json!({}), true),
            ("here", required(json!([on(&[("host", "node-1")])])), true),
            ("here, all keys", required(json!([on(&[("zone", "z1"), ("host", "node-1")])])), true),
            ("there", required(json!([on(&[("host", "node-2")])])), false),
            ("there or here", required(json!([on(&[("host", "node-2")]), on(&[("zone", "z1")])])), true),
            ("another key", required(json!([on(&[("host", "node-1"), ("rack", "r")])])), false),
            ("a key that the driver had before", required(json!([on(&[("name", "node-1")])])), false),
            (
                "what is not understood",
                required(json!([{"matchFields": [{"key": "f", "operator": "Exists"}]}])),
                false,
            ),
        ] {
            let nowhere = NodeSettings { segments: BTreeMap::new(), ..node() };
            let volume = of(affinity);
            assert_eq!((node().reaches(&volume), nowhere.reaches(&volume)), (expected, true), "{name}");
            assert_eq!(node().is_out_of_reach(&volume), name == "there", "{name}: only what is certain");
            assert!(!nowhere.is_out_of_reach(&volume), "{name}");
        }
    }

    /// Upstream's TestRateLimiter.
    #[test]
    fn delays_grow_up_to_the_longest_and_differ() {
        let node = node();
        let second = Duration::from_secs;
        let (most, least) = (|tries| node.delay(tries, 0.0), |tries| node.delay(tries, 1.0));
        assert_eq!([0, 1, 2, 50].map(most), [20, 40, 60, 60].map(second));
        assert_eq!([0, 1, 2, 50].map(least), [0, 20, 40, 40].map(second));
        let mut random = fastrand::Rng::with_seed(1);
        assert!((0..100).all(|tries| node.delay(tries, random.f64()) <= node.max_delay));
        let short = NodeSettings { max_delay: second(5), ..node.clone() };
        assert_eq!(short.delay(0, 0.9), Duration::ZERO);
    }

    /// Upstream's TestGetNameWithMaxLength.
    #[test]
    fn labels_are_cut_to_their_length() {
        let base = "external-provisioner";
        let node = |length: usize| "n".repeat(length);
        assert_eq!(label_with_node(base, "node-1"), "external-provisioner-node-1");
        assert_eq!(label_with_node("", "node-1"), "node-1");
        assert_eq!(label_with_node(base, &node(42)), format!("{base}-{}", node(42)), "exactly 63");
        assert_eq!(label_with_node(base, &node(43)), format!("external-p-53f40b57-{}", node(43)));
        assert_eq!(label_with_node(base, &node(52)), format!("e-53f40b57-{}", node(52)));
        for length in [53, 67, 200] {
            let label = label_with_node(base, &node(length));
            assert!(label.starts_with("external-provisioner-") && label.len() == 29, "{label}");
        }
        assert_eq!(label_with_node("", &node(70)).len(), 8);
        assert_ne!(label_with_node(base, &node(53)), label_with_node(base, &node(54)));
    }
}
