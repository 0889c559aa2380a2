//! TestAllowedTopologies and TestPreferredTopologies.

use super::*;

/// Terms of keys and values.
type Given = &'static [&'static [(&'static str, &'static [&'static str])]];

fn allowed(terms: Given) -> Vec<AllowedTerm> {
    let key = |(key, values): &(&str, &[&str])| {
        ((*key).to_owned(), values.iter().map(|value| (*value).to_owned()).collect())
    };
    terms.iter().map(|keys| keys.iter().map(key).collect()).collect()
}

#[test]
fn allowed_topologies_are_multiplied_out_whatever_the_flags() {
    let rows: [(&str, Given, &[&str]); 12] = [
        ("single expression, single value", &[&[("zone", &["zone1"])]], &["zone=zone1"]),
        (
            "single expression, multiple values",
            &[&[("zone", &["zone1", "zone2"])]],
            &["zone=zone1", "zone=zone2"],
        ),
        (
            "multiple expressions, single value",
            &[&[("zone", &["zone1"]), ("rack", &["rackA"])]],
            &["rack=rackA,zone=zone1"],
        ),
        (
            "multiple expressions, 1 x 2",
            &[&[("zone", &["zone1", "zone2"]), ("rack", &["rackA"])]],
            &["rack=rackA,zone=zone1", "rack=rackA,zone=zone2"],
        ),
        (
            "multiple expressions, 2 x 2",
            &[&[("zone", &["zone1", "zone2"]), ("rack", &["rackA", "rackB"])]],
            &[
                "rack=rackA,zone=zone1",
                "rack=rackA,zone=zone2",
                "rack=rackB,zone=zone1",
                "rack=rackB,zone=zone2",
            ],
        ),
        (
            "multiple terms",
            &[&[("zone", &["zone1"]), ("rack", &["rackA"])], &[("zone", &["zone2"]), ("rack", &["rackB"])]],
            &["rack=rackA,zone=zone1", "rack=rackB,zone=zone2"],
        ),
        (
            "overlapping keys, distinct values",
            &[&[("zone", &["zone1"])], &[("zone", &["zone2"]), ("rack", &["rackA"])]],
            &["zone=zone1", "rack=rackA,zone=zone2"],
        ),
        (
            "overlapping keys, equal values",
            &[&[("zone", &["zone1", "zone2"])], &[("zone", &["zone2", "zone3"])]],
            &["zone=zone1", "zone=zone2", "zone=zone3"],
        ),
        (
            "subset duplicate stays",
            &[&[("zone", &["zone1"]), ("rack", &["rackA"])], &[("zone", &["zone1"])]],
            &["zone=zone1", "rack=rackA,zone=zone1"],
        ),
        ("identical duplicate goes", &[&[("zone", &["zone1"])], &[("zone", &["zone1"])]], &["zone=zone1"]),
        ("an empty term beside another", &[&[], &[("zone", &["zone1"])]], &["zone=zone1"]),
        ("empty terms only", &[&[], &[]], &[]),
    ];
    for (name, given, expected) in rows {
        let given = allowed(given);
        for (strict, immediate) in COMBINATIONS {
            let asked = Asked { claim: "testpvc", allowed: &given, strict, immediate };
            let found = ask(&asked, &Known::default()).unwrap().map(|(requisite, _)| requisite);
            let expected = Some(from(expected, 0)).filter(|terms| !terms.is_empty());
            assert_eq!(found, expected, "{name} {strict} {immediate}");
        }
    }
}

fn racks() -> Vec<Machine> {
    let of = |zone, rack| node(&[("zone", zone), ("rack", rack)], &["zone", "rack"]);
    vec![of("zone2", "rackA"), of("zone1", "rackB"), of("zone1", "rackA")]
}

/// With the first node selected: what is preferred, and what with strict topology. An error is a part of its text.
fn preferred(
    name: &str,
    nodes: &[Machine],
    given: Given,
    expected: Result<&[&str], &str>,
    strictly: Result<&[&str], &str>,
) {
    let given = allowed(given);
    for (strict, immediate) in COMBINATIONS {
        let asked = Asked { claim: "testpvc", allowed: &given, strict, immediate };
        let expected = if strict { strictly } else { expected };
        match (ask(&asked, &known(nodes, true)), expected) {
            (Ok(Some((_, preferred))), Ok(expected)) => assert_eq!(preferred, expected, "{name} {strict}"),
            (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{name}: {error}"),
            (found, _) => panic!("{name} {strict}: {found:?}"),
        }
    }
}

#[test]
fn preferred_terms_begin_with_that_of_the_selected_node() {
    let all: &[&str] = &["rack=rackA,zone=zone2", "rack=rackB,zone=zone1", "rack=rackA,zone=zone1"];
    let own: &[&str] = &["rack=rackA,zone=zone2"];
    preferred("aggregated", &racks(), &[], Ok(all), Ok(own));
    preferred(
        "allowedTopologies",
        &racks(),
        &[&[("zone", &["zone1", "zone2"]), ("rack", &["rackA", "rackB"])]],
        Ok(&[
            "rack=rackA,zone=zone2",
            "rack=rackB,zone=zone1",
            "rack=rackB,zone=zone2",
            "rack=rackA,zone=zone1",
        ]),
        Ok(own),
    );
    preferred(
        "allowedTopologies is subset of selected node's topology",
        &racks(),
        &[&[("zone", &["zone2"])]],
        Ok(&["zone=zone2"]),
        Ok(own),
    );
    preferred(
        "allowedTopologies is subset, and another comes first",
        &racks(),
        &[&[("zone", &["zone1", "zone2"])]],
        Ok(&["zone=zone2", "zone=zone1"]),
        Ok(own),
    );
}

#[test]
fn selected_node_that_does_not_fit_is_an_error() {
    let not_allowed = "is not in allowed topologies: [";
    preferred(
        "selected node is not in allowedTopologies",
        &racks(),
        &[&[("zone", &["zone1"]), ("rack", &["rackA"])]],
        Err("is not in requisite: [rack=rackA,zone=zone1]"),
        Err(not_allowed),
    );
    preferred(
        "allowedTopologies is not a subset of selected node's topology",
        &racks(),
        &[&[("zone", &["zone2"]), ("rack", &["rackA"]), ("host", &["h"])]],
        Err("is not in requisite"),
        Err(not_allowed),
    );
    let zone: Given = &[&[("zone", &["zone1"])]];
    let without = [Machine { labels: Some(vec![("zone", "zone1")]), csi: Csi::Missing }];
    preferred("no CSINode", &without, zone, Err("not found"), Err("not found"));
    let mismatched = [node(&[("zone", "zone1")], &["rack"])];
    let text = "does not match topology keys from CSINode [rack]: label rack is missing";
    preferred("mismatched key", &mismatched, &[], Err(text), Err(text));
    let none = [Machine { labels: Some(vec![]), csi: Csi::Without }];
    preferred("no topology info", &none, &[], Err("no topology key"), Err("no topology key"));
}

#[test]
fn events_name_a_few_terms_of_many() {
    let terms: Vec<Term> = (0..5000).map(|number| Term::new([("host", format!("h{number}"))])).collect();
    let text = shown(&terms);
    assert!(text.starts_with("[host=h0] [host=h1]") && text.ends_with("and 4990 more"), "{text}");
}
