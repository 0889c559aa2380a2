//! Upstream's topology tables (docs/upstream/provisioner.md, "Test cases").

mod aggregation;
mod allowed;
mod model;

use std::collections::BTreeMap;

use super::*;

/// What the CSINode of a node says.
#[derive(Debug, Clone)]
pub(super) enum Csi {
    /// There is none.
    Missing,
    /// The driver is not in it.
    Without,
    /// The driver registered these keys.
    Keys(Vec<&'static str>),
}

/// A node of a test.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    /// `None`: there is no Node.
    pub(super) labels: Option<Vec<(&'static str, &'static str)>>,
    pub(super) csi: Csi,
}

impl Machine {
    fn label(&self) -> Option<impl Fn(&str) -> Option<&'static str>> {
        let labels: BTreeMap<_, _> = self.labels.clone()?.into_iter().collect();
        Some(move |key: &str| labels.get(key).copied())
    }
}

/// A node with these labels, on which the driver registered these keys.
pub(super) fn node(labels: &[(&'static str, &'static str)], keys: &[&'static str]) -> Machine {
    Machine { labels: Some(labels.to_vec()), csi: Csi::Keys(keys.to_vec()) }
}

fn words(keys: &[&str]) -> Vec<Arc<str>> {
    keys.iter().map(|key| Arc::from(*key)).collect()
}

pub(super) fn cluster(nodes: &[Machine]) -> Cluster {
    let registered: Vec<(Vec<Arc<str>>, &Machine)> = nodes
        .iter()
        .filter_map(|node| match &node.csi {
            Csi::Keys(keys) => Some((words(keys), node)),
            Csi::Missing | Csi::Without => None,
        })
        .collect();
    Cluster::new(registered.iter().map(|(keys, node)| {
        let label = node.label().map(|label| move |key: &str| label(key).map(Arc::from));
        (&**keys, label)
    }))
}

/// What is known with the first node selected, or with none.
pub(super) fn known(nodes: &[Machine], selected: bool) -> Known {
    let selected = selected.then(|| {
        let Some(first) = nodes.first() else {
            return Err(TopologyError::NoCsiNode { node: "node0".to_owned() });
        };
        match &first.csi {
            Csi::Missing => Err(TopologyError::NoCsiNode { node: "node0".to_owned() }),
            Csi::Without => Selected::new("node0", &[], first.label()),
            Csi::Keys(keys) => Selected::new("node0", &words(keys), first.label()),
        }
    });
    Known { selected, cluster: Arc::new(cluster(nodes)) }
}

/// Terms as text: `rack=a,zone=1`.
pub(super) type Terms = Vec<String>;

/// Requisite and preferred of a claim.
pub(super) fn ask(asked: &Asked<'_>, known: &Known) -> Result<Option<(Terms, Terms)>, TopologyError> {
    let texts = |topologies: Vec<v1::Topology>| -> Terms {
        topologies.into_iter().map(|topology| Term::new(topology.segments).to_string()).collect()
    };
    let requirement = placement(asked, known)?.map(|placement| placement.requirement());
    Ok(requirement.map(|requirement| (texts(requirement.requisite), texts(requirement.preferred))))
}

/// The claim `testpvc` of a class without allowed topologies.
pub(super) fn plain(strict: bool, immediate: bool) -> Asked<'static> {
    Asked { claim: "testpvc", allowed: &[], strict, immediate }
}

pub(super) const COMBINATIONS: [(bool, bool); 4] =
    [(false, false), (false, true), (true, false), (true, true)];

/// `terms` from `first` on.
pub(super) fn from(terms: &[&str], first: usize) -> Terms {
    let (before, rest) = terms.split_at(first);
    rest.iter().chain(before).map(|term| (*term).to_owned()).collect()
}

fn zones_and_racks() -> Vec<Machine> {
    let keys = ["zone", "rack"];
    [("zone1", "rackA"), ("zone2", "rackB"), ("zone3", "rackC"), ("zone4", "rackD")]
        .map(|(zone, rack)| node(&[("zone", zone), ("rack", rack)], &keys))
        .into()
}

const SPREAD: [&str; 4] =
    ["rack=rackA,zone=zone1", "rack=rackB,zone=zone2", "rack=rackC,zone=zone3", "rack=rackD,zone=zone4"];

#[test]
fn claims_of_a_stateful_set_spread() {
    let known = known(&zones_and_racks(), false);
    let allowed = [vec![("zone".to_owned(), ["zone2", "zone1"].map(str::to_owned).into())]];
    for (strict, immediate) in COMBINATIONS {
        for (claim, first) in [
            ("testpvcA-testset-1", 0),
            ("testpvcB-testset-1", 0),
            ("testpvcA-testset-2", 1),
            ("testpvcA-testset-3", 2),
            ("testpvcA-testset-4", 3),
        ] {
            let asked = Asked { claim, allowed: &[], strict, immediate };
            let expected = immediate.then(|| (from(&SPREAD, 0), from(&SPREAD, first)));
            assert_eq!(ask(&asked, &known), Ok(expected), "{claim} {strict} {immediate}");
            let asked = Asked { allowed: &allowed, ..asked };
            let two = ["zone=zone1", "zone=zone2"];
            let expected = Some((from(&two, 0), from(&two, first % 2)));
            assert_eq!(ask(&asked, &known), Ok(expected), "{claim}, allowed");
        }
    }
}

#[test]
fn key_sets_are_distinct_and_sorted() {
    let sets = |keys: &[&[&'static str]]| -> Vec<String> {
        let nodes: Vec<Machine> = keys.iter().map(|keys| node(&[], keys)).collect();
        cluster(&nodes).key_sets().into_iter().map(|keys| list(keys)).collect()
    };
    let none: [&str; 0] = [];
    for (keys, expected) in [
        (&[][..], &none[..]),
        (&[&[][..]], &none),
        (&[&["zone", "rack"][..], &["rack", "zone"], &["rack", "zone", "rack"]], &["rack zone"]),
        (&[&["region", "zone"][..], &["region"]], &["region", "region zone"]),
        (&[&[][..], &["region"], &[]], &["region"]),
        (&[&["zone"][..], &["region"]], &["region", "zone"]),
    ] {
        assert_eq!(sets(keys), expected, "{keys:?}");
    }
}

#[test]
fn segments_of_nodes_are_for_their_own_keys() {
    let nodes = [
        node(&[("zone", "b"), ("rack", "1"), ("other", "x")], &["zone", "rack"]),
        node(&[("zone", "b"), ("rack", "1")], &["rack", "zone"]),
        node(&[("zone", "a")], &["zone"]),
        node(&[("zone", "c")], &["zone", "rack"]),
        Machine { labels: None, csi: Csi::Keys(vec!["zone"]) },
        Machine { labels: Some(vec![("zone", "d")]), csi: Csi::Without },
    ];
    let texts =
        |nodes: &[Machine]| -> Terms { cluster(nodes).segments().iter().map(ToString::to_string).collect() };
    assert_eq!(texts(&nodes), ["zone=a", "rack=1,zone=b"]);
    assert_eq!(texts(&[node(&[("zone", "a")], &[])]), [""], "every node will do");
    assert!(texts(&[]).is_empty());
}

#[test]
fn only_a_missing_csi_node_means_that_the_node_is_gone() {
    let zone = || vec![("zone", "z1")];
    for (machine, gone, text) in [
        (
            Machine { labels: Some(zone()), csi: Csi::Missing },
            true,
            "csinode.storage.k8s.io \"node0\" not found",
        ),
        (Machine { labels: None, csi: Csi::Missing }, true, "csinode.storage.k8s.io \"node0\" not found"),
        (Machine { labels: Some(zone()), csi: Csi::Without }, false, "no topology key found for node node0"),
        (node(&[("zone", "z1")], &[]), false, "no topology key found for node node0"),
        (Machine { labels: None, csi: Csi::Keys(vec!["zone"]) }, false, "node \"node0\" not found"),
        (node(&[("rack", "r1")], &["zone"]), false, "does not match topology keys"),
    ] {
        for (strict, immediate) in COMBINATIONS {
            let error =
                ask(&plain(strict, immediate), &known(std::slice::from_ref(&machine), true)).unwrap_err();
            assert_eq!(error.node_is_gone().is_some(), gone, "{error}");
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}

fn zones(count: usize) -> Vec<Term> {
    let zone = |number: usize| {
        let name = format!("z{number}");
        Term::of_labels(["zone"], |_| Some(name.as_str())).unwrap()
    };
    (0..count).map(zone).collect()
}

#[test]
fn a_placement_begins_with_one_of_its_terms() {
    let placement = |count, first| Placement::of(zones(count).into(), first);
    assert_eq!(placement(2, 0).map(|placement| placement.first()), Some(0));
    assert_eq!(placement(2, 1).map(|placement| placement.first()), Some(1));
    assert!(placement(2, 2).is_none() && placement(0, 0).is_none());
}

#[test]
fn terms_beyond_the_first_few_are_counted() {
    let all = shown(&zones(SHOWN));
    assert!(all.ends_with(&format!("[zone=z{}]", SHOWN - 1)), "{all}");
    assert_eq!(shown(&zones(SHOWN + 2)), format!("{all} and 2 more"));
}
