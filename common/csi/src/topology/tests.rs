//! Upstream's topology tests, as far as they concern terms alone (docs/upstream/provisioner.md,
//! "Test cases").

use std::collections::BTreeMap;

use super::*;

fn term(pairs: &[(&str, &str)]) -> Term {
    Term::new(pairs.iter().copied())
}

fn zones(names: &[&str]) -> Vec<Term> {
    names.iter().map(|name| term(&[("zone", name)])).collect()
}

fn allowed(terms: &[&[(&str, &[&str])]]) -> Vec<AllowedTerm> {
    let key = |(key, values): &(&str, &[&str])| {
        ((*key).to_owned(), values.iter().map(|v| (*v).to_owned()).collect())
    };
    terms.iter().map(|keys| keys.iter().map(key).collect()).collect()
}

#[test]
fn a_term_sorts_its_pairs_by_key() {
    let got = term(&[("zone", "z1"), ("rack", "r2"), ("host", "h3")]);
    let keys: Vec<&str> = got.pairs().iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["host", "rack", "zone"]);
    let segments: BTreeMap<String, String> = got.segments();
    assert_eq!(segments.get("rack").map(String::as_str), Some("r2"));
}

#[test]
fn fewer_pairs_sort_first_then_key_then_value() {
    let ordered = [
        term(&[]),
        term(&[("a", "9")]),
        term(&[("b", "1")]),
        term(&[("b", "2")]),
        term(&[("a", "1"), ("b", "2")]),
        term(&[("a", "1"), ("c", "1")]),
        term(&[("a", "2"), ("b", "1")]),
    ];
    let mut shuffled = ordered.to_vec();
    shuffled.reverse();
    shuffled.sort();
    assert_eq!(shuffled, ordered);
}

#[test]
fn subsets() {
    let ab = term(&[("a", "1"), ("b", "2")]);
    for (other, want) in [
        (term(&[]), true),
        (term(&[("a", "1")]), true),
        (ab.clone(), true),
        (term(&[("a", "2")]), false),
        (term(&[("c", "1")]), false),
        (term(&[("a", "1"), ("b", "2"), ("c", "3")]), false),
    ] {
        assert_eq!(other.is_subset_of(&ab), want, "{other:?}");
    }
    assert!(!ab.is_subset_of(&term(&[])));
}

#[test]
fn flattening_is_a_cross_product_per_term() {
    let (z, r) = ("zone", "rack");
    for (name, terms, want) in [
        ("single key and value", allowed(&[&[(z, &["z1"])]]), zones(&["z1"])),
        ("several values", allowed(&[&[(z, &["z1", "z2"])]]), zones(&["z1", "z2"])),
        (
            "two by two",
            allowed(&[&[(z, &["z1", "z2"]), (r, &["r1", "r2"])]]),
            vec![
                term(&[(r, "r1"), (z, "z1")]),
                term(&[(r, "r1"), (z, "z2")]),
                term(&[(r, "r2"), (z, "z1")]),
                term(&[(r, "r2"), (z, "z2")]),
            ],
        ),
        (
            "identical duplicates dropped",
            allowed(&[&[(z, &["z1", "z2"])], &[(z, &["z2", "z3"])]]),
            zones(&["z1", "z2", "z3"]),
        ),
        (
            "a duplicate that is only a part stays",
            allowed(&[&[(z, &["z1"]), (r, &["r1"])], &[(z, &["z1"])]]),
            vec![term(&[(z, "z1")]), term(&[(r, "r1"), (z, "z1")])],
        ),
        ("nothing", allowed(&[]), vec![]),
        ("empty terms only", allowed(&[&[], &[]]), vec![]),
        ("a key without values", allowed(&[&[(z, &["z1"]), (r, &[])]]), vec![]),
    ] {
        assert_eq!(sorted_distinct(flatten(&terms)), want, "{name}");
    }
}

#[test]
fn a_node_needs_every_key_to_have_a_term() {
    let labels: BTreeMap<String, String> = term(&[("zone", "z1"), ("rack", "r1"), ("other", "x")]).segments();
    let label = |key: &str| labels.get(key).map(String::as_str);
    assert_eq!(Term::of_labels(["zone", "rack"], label), Ok(term(&[("rack", "r1"), ("zone", "z1")])));
    assert_eq!(Term::of_labels(["zone", "region"], label), Err("region"));
    assert_eq!(Term::of_labels([], label), Ok(term(&[])));
    assert_eq!(term(&[("zone", "z1"), ("rack", "r1")]).to_string(), "rack=r1,zone=z1");
}

#[test]
fn rotation_keeps_every_term_once() {
    let terms = zones(&["z1", "z2", "z3"]);
    assert_eq!(rotated(&terms, 0), terms);
    assert_eq!(rotated(&terms, 2), zones(&["z3", "z1", "z2"]));
    assert_eq!(rotated(&terms, 9), terms);
    assert_eq!(rotated(&[], 0), []);
}

#[test]
fn rotation_begins_with_the_first_term_of_the_node() {
    let terms = zones(&["z1", "z2", "z3"]);
    let node = term(&[("zone", "z2"), ("rack", "r7")]);
    assert_eq!(first_on_node(&terms, &node), Some(1));
    assert_eq!(first_on_node(&terms, &term(&[("rack", "r7")])), None);
    assert_eq!(first_on_node(&[], &node), None);
}

#[test]
fn the_hash_is_fnv1_of_the_sets_name_plus_the_number() {
    const TESTSET: u32 = 1_633_848_515;
    for (name, want) in [
        ("testset", TESTSET),
        ("testpvcA-testset-1", TESTSET + 1),
        ("testpvcB-testset-1", TESTSET + 1),
        ("testset-4", TESTSET + 4),
        ("testset-4294967295", TESTSET.wrapping_sub(1)),
        ("a-b-4294967296", fnv1_32(b"a-b-4294967296")),
        ("a-b-+1", fnv1_32(b"a-b-+1")),
        ("a-", fnv1_32(b"a-")),
        ("-7", fnv1_32(b"") + 7),
    ] {
        assert_eq!(name_hash(name), want, "{name}");
    }
}

#[test]
fn the_claims_of_a_stateful_set_spread_over_the_terms() {
    let terms = zones(&["z1", "z2", "z3", "z4"]);
    for (name, first) in [
        ("testpvcA-testset-1", "z1"),
        ("testpvcB-testset-1", "z1"),
        ("testpvcA-testset-2", "z2"),
        ("testpvcA-testset-3", "z3"),
        ("testpvcA-testset-4", "z4"),
    ] {
        let got = rotated(&terms, first_by_name(&terms, name));
        assert_eq!(got.first(), zones(&[first]).first(), "{name}");
        assert_eq!(sorted_distinct(got), terms);
    }
    assert_eq!(first_by_name(&[], "x"), 0);
}
