//! Random clusters and claims against a slow and obvious model of the rules.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use super::*;

const KEYS: [&str; 3] = ["region", "zone", "rack"];
const VALUES: [&str; 3] = ["1", "2", "3"];
/// Cases tried; each has its number as seed.
const CASES: u64 = 20_000;

type Pairs = BTreeMap<&'static str, &'static str>;

fn some<T: Copy>(rng: &mut Rng, from: &[T]) -> Vec<T> {
    let mut all = from.to_vec();
    rng.shuffle(&mut all);
    all.truncate(rng.usize(0..=from.len()));
    all
}

fn machine(rng: &mut Rng) -> Machine {
    let keys = some(rng, &KEYS);
    let mut labels: Vec<_> = some(rng, &KEYS);
    if rng.u8(..4) > 0 {
        labels.extend(keys.clone());
        labels.sort_unstable();
        labels.dedup();
    }
    let labels = labels.into_iter().map(|key| (key, VALUES[rng.usize(..VALUES.len())])).collect();
    let csi = match rng.u8(..8) {
        0 => Csi::Missing,
        1 => Csi::Without,
        _ => Csi::Keys(keys),
    };
    Machine { labels: (rng.u8(..10) > 0).then_some(labels), csi }
}

fn allowed(rng: &mut Rng) -> Vec<Vec<(&'static str, Vec<&'static str>)>> {
    let count = if rng.bool() { 0 } else { rng.usize(1..=3) };
    let term = |rng: &mut Rng| {
        let keys = some(rng, &KEYS);
        keys.into_iter().map(|key| (key, VALUES[..rng.usize(1..=3)].to_vec())).collect()
    };
    (0..count).map(|_| term(rng)).collect()
}

/// The pairs of a node for these keys, if it registered them all and has them all.
fn pairs(machine: &Machine, keys: &BTreeSet<&'static str>) -> Option<Pairs> {
    let (Csi::Keys(registered), Some(labels)) = (&machine.csi, &machine.labels) else { return None };
    let mut found = Pairs::new();
    for key in keys {
        if !registered.contains(key) {
            return None;
        }
        let (_, value) = labels.iter().find(|(label, _)| label == key)?;
        found.insert(key, value);
    }
    Some(found)
}

fn keys(machine: &Machine) -> Option<BTreeSet<&'static str>> {
    match &machine.csi {
        Csi::Keys(keys) if !keys.is_empty() => Some(keys.iter().copied().collect()),
        Csi::Keys(_) | Csi::Missing | Csi::Without => None,
    }
}

/// Every choice of one value for each key.
fn choices(term: &[(&'static str, Vec<&'static str>)]) -> Vec<Pairs> {
    let Some(((key, values), rest)) = term.split_first() else { return vec![Pairs::new()] };
    let mut all = Vec::new();
    for further in choices(rest) {
        for value in values {
            let mut pairs = further.clone();
            pairs.insert(key, value);
            all.push(pairs);
        }
    }
    all
}

/// Requisite and preferred as the rules have them; an error is `None` inside.
#[allow(clippy::type_complexity)]
fn expected(
    nodes: &[Machine],
    selected: bool,
    allowed: &[Vec<(&'static str, Vec<&'static str>)>],
    asked: &Asked<'_>,
) -> Option<Option<(Vec<Pairs>, usize)>> {
    let own = if selected {
        let first = nodes.first()?;
        Some(pairs(first, &keys(first)?)?)
    } else {
        None
    };
    let holds = |term: &Pairs, own: &Pairs| term.iter().all(|(key, value)| own.get(key) == Some(value));
    let terms: BTreeSet<Pairs> =
        allowed.iter().filter(|term| !term.is_empty()).flat_map(|term| choices(term)).collect();
    let mut requisite: Vec<Pairs> = match &own {
        Some(own) if asked.strict => {
            if !allowed.is_empty() && !terms.iter().any(|term| holds(term, own)) {
                return None;
            }
            vec![own.clone()]
        }
        _ if !allowed.is_empty() => terms.into_iter().collect(),
        None if !asked.immediate => return Some(None),
        own => {
            let sets: BTreeSet<_> = match own {
                Some(_) => keys(nodes.first()?).into_iter().collect(),
                None => nodes.iter().filter_map(keys).collect(),
            };
            let all = sets.iter().flat_map(|set| nodes.iter().filter_map(|node| pairs(node, set)));
            let all: BTreeSet<Pairs> = all.collect();
            if all.is_empty() {
                return None;
            }
            all.into_iter().collect()
        }
    };
    if requisite.is_empty() {
        return Some(None);
    }
    requisite.sort_by_key(|pairs| (pairs.len(), pairs.iter().map(|(k, v)| (*k, *v)).collect::<Vec<_>>()));
    let first = match &own {
        Some(own) => requisite.iter().position(|term| holds(term, own))?,
        None => csi::topology::name_hash(asked.claim) as usize % requisite.len(),
    };
    Some(Some((requisite, first)))
}

fn text(pairs: &Pairs) -> String {
    pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

#[test]
fn random_claims_get_what_the_rules_say() {
    let (mut placed, mut refused, mut free) = (0, 0, 0);
    for seed in 0..CASES {
        let mut rng = Rng::with_seed(seed);
        let nodes: Vec<Machine> = (0..rng.usize(0..6)).map(|_| machine(&mut rng)).collect();
        let (selected, given) = (rng.bool(), allowed(&mut rng));
        let owned: Vec<AllowedTerm> = given
            .iter()
            .map(|term| {
                let own = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
                term.iter().map(|(key, values)| ((*key).to_owned(), own(values))).collect()
            })
            .collect();
        let claim = format!("data-set{}-{}", rng.u8(..5), rng.u8(..5));
        let (strict, immediate) = (rng.bool(), rng.bool());
        let asked = Asked { claim: &claim, allowed: &owned, strict, immediate };
        let found = ask(&asked, &known(&nodes, selected));
        let told = || format!("seed {seed}: {nodes:?} {selected} {asked:?}: {found:?}");
        match expected(&nodes, selected, &given, &asked) {
            None => {
                assert!(found.is_err(), "{}", told());
                refused += 1;
            }
            Some(None) => {
                assert_eq!(found, Ok(None), "{}", told());
                free += 1;
            }
            Some(Some((terms, first))) => {
                let texts: Vec<String> = terms.iter().map(text).collect();
                let plain: Vec<&str> = texts.iter().map(String::as_str).collect();
                assert_eq!(found, Ok(Some((from(&plain, 0), from(&plain, first)))), "{}", told());
                placed += 1;
            }
        }
    }
    assert!(placed > 5000 && refused > 1000 && free > 1000, "{placed} {refused} {free}");
}
