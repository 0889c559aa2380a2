//! The cases of TestGetSecretReference, TestStripPrefixedCSIParams and TestFSTypeProvision
//! (docs/upstream/provisioner.md, "Test cases").

use std::collections::BTreeMap;

use super::*;

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn map(pairs: Pairs<'_>) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

const NAME: &str = "csi.storage.k8s.io/provisioner-secret-name";
const NAMESPACE: &str = "csi.storage.k8s.io/provisioner-secret-namespace";
const OLD_NAME: &str = "csiProvisionerSecretName";
const OLD_NAMESPACE: &str = "csiProvisionerSecretNamespace";
const PUBLISH_NAME: &str = "csi.storage.k8s.io/node-publish-secret-name";
const PUBLISH_NAMESPACE: &str = "csi.storage.k8s.io/node-publish-secret-namespace";
const ANY_NAME: &str = "csi.storage.k8s.io/secret-name";
const ANY_NAMESPACE: &str = "csi.storage.k8s.io/secret-namespace";

/// `namespace/name`, empty for none, or the error's text.
fn resolve(stage: Stage, parameters: Pairs<'_>, with_claim: bool) -> Result<String, String> {
    let annotations = map(&[("akey", "avalue")]);
    let claim = ClaimFacts { namespace: "pvcnamespace", name: "pvcname", annotations: Some(&annotations) };
    let facts = Facts { volume_name: "pvname", claim: with_claim.then_some(claim) };
    reference(stage, &map(parameters), &facts)
        .map(|found| found.map(|found| found.to_string()).unwrap_or_default())
        .map_err(|error| error.to_string())
}

// A list is as long as what it lists.
#[allow(clippy::too_many_lines)]
#[test]
fn resolves_upstreams_valid_cases() {
    let annotation = "${pvc.annotations['akey']}";
    for (case, stage, parameters, with_claim, want) in [
        ("no parameters", Stage::NodePublish, &[][..], true, ""),
        ("deprecated pair", Stage::Provision, &[(OLD_NAME, "n"), (OLD_NAMESPACE, "ns")], true, "ns/n"),
        ("new pair", Stage::Provision, &[(NAME, "n"), (NAMESPACE, "ns")], true, "ns/n"),
        ("old name, new namespace", Stage::Provision, &[(OLD_NAME, "n"), (NAMESPACE, "ns")], true, "ns/n"),
        ("new name, old namespace", Stage::Provision, &[(NAME, "n"), (OLD_NAMESPACE, "ns")], true, "ns/n"),
        ("no claim", Stage::Provision, &[(NAME, "n"), (NAMESPACE, "ns")], false, "ns/n"),
        (
            "claim annotation in the name",
            Stage::Provision,
            &[(NAME, annotation), (NAMESPACE, "ns")],
            true,
            "ns/avalue",
        ),
        (
            "every token",
            Stage::NodePublish,
            &[
                (PUBLISH_NAMESPACE, "static-${pv.name}-${pvc.namespace}"),
                (PUBLISH_NAME, "static-${pv.name}-${pvc.namespace}-${pvc.name}-${pvc.annotations['akey']}"),
            ],
            true,
            "static-pvname-pvcnamespace/static-pvname-pvcnamespace-pvcname-avalue",
        ),
        (
            "volume name without a claim",
            Stage::Provision,
            &[(NAME, "a.${pv.name}"), (NAMESPACE, "${pv.name}")],
            false,
            "pvname/a.pvname",
        ),
        (
            "claim name in names",
            Stage::Provision,
            &[(NAME, "${pvc.name}"), (NAMESPACE, "ns")],
            true,
            "ns/pvcname",
        ),
        (
            "static name, template namespace",
            Stage::Provision,
            &[(NAME, "n"), (NAMESPACE, "${pvc.namespace}")],
            true,
            "pvcnamespace/n",
        ),
        (
            "default pair",
            Stage::NodeExpand,
            &[(ANY_NAME, "${pvc.name}"), (ANY_NAMESPACE, "ns")],
            true,
            "ns/pvcname",
        ),
        (
            "own pair beats the default",
            Stage::Provision,
            &[(NAME, "n"), (NAMESPACE, "ns"), (ANY_NAME, ""), (ANY_NAMESPACE, "x")],
            true,
            "ns/n",
        ),
        ("another stage's pair", Stage::NodeStage, &[(NAME, "n"), (NAMESPACE, "ns")], true, ""),
    ] {
        assert_eq!(resolve(stage, parameters, with_claim), Ok(want.to_owned()), "{case}");
    }
}

#[test]
fn refuses_upstreams_invalid_cases_naming_the_parameter() {
    let annotation = "${pvc.annotations['akey']}";
    let missing = "${pvc.annotations['other']}";
    for (case, parameters, names) in [
        ("name only", &[(NAME, "n")][..], NAMESPACE),
        ("namespace only", &[(NAMESPACE, "ns")], NAME),
        ("deprecated name only", &[(OLD_NAME, "n")], NAMESPACE),
        ("deprecated namespace only", &[(OLD_NAMESPACE, "ns")], NAME),
        ("both empty", &[(NAME, ""), (NAMESPACE, "")], NAME),
        ("deprecated both empty", &[(OLD_NAME, ""), (OLD_NAMESPACE, "")], OLD_NAME),
        ("namespace empty", &[(NAME, "n"), (NAMESPACE, "")], NAMESPACE),
        ("both pairs", &[(NAME, "n"), (NAMESPACE, "ns"), (OLD_NAME, "n"), (OLD_NAMESPACE, "ns")], OLD_NAME),
        ("both names", &[(NAME, "n"), (OLD_NAME, "n"), (NAMESPACE, "ns")], OLD_NAME),
        ("both namespaces", &[(NAME, "n"), (NAMESPACE, "ns"), (OLD_NAMESPACE, "ns")], OLD_NAMESPACE),
        ("invalid name", &[(NAME, "bad name"), (NAMESPACE, "ns")], "bad name"),
        ("invalid namespace", &[(NAME, "n"), (NAMESPACE, "bad.ns")], "bad.ns"),
        ("annotation name alone", &[(NAME, annotation)], NAMESPACE),
        ("absent annotation", &[(NAME, missing), (NAMESPACE, "ns")], "pvc.annotations['other']"),
        ("annotation in the namespace", &[(NAME, "n"), (NAMESPACE, annotation)], "pvc.annotations"),
        ("claim name in the namespace", &[(NAME, "n"), (NAMESPACE, "${pvc.name}")], "pvc.name"),
        ("unknown token in the name", &[(NAME, "${x}"), (NAMESPACE, "ns")], "\"x\""),
        ("unknown token in the namespace", &[(NAME, "n"), (NAMESPACE, "${x}")], "\"x\""),
        ("shell style without braces", &[(NAME, "$pv.name"), (NAMESPACE, "ns")], "\"pv\""),
        ("open brace", &[(NAME, "a${pv.name"), (NAMESPACE, "ns")], "brace"),
        ("empty braces", &[(NAME, "a${}"), (NAMESPACE, "ns")], "brace"),
        ("bare dollar", &[(NAME, "a$.b"), (NAMESPACE, "ns")], "a$.b"),
        ("half a default", &[(ANY_NAME, "n")], ANY_NAMESPACE),
        ("empty default", &[(ANY_NAME, "n"), (ANY_NAMESPACE, "")], ANY_NAMESPACE),
    ] {
        let error = resolve(Stage::Provision, parameters, true).unwrap_err();
        assert!(error.contains(names), "{case}: {error}");
    }
    let error = resolve(Stage::Provision, &[(NAME, "${pvc.name}"), (NAMESPACE, "ns")], false);
    assert!(error.unwrap_err().contains("pvc.name"), "no claim is known");
}

#[test]
fn unknown_tokens_are_all_listed() {
    let error = resolve(Stage::Provision, &[(NAME, "${b}$a${b}"), (NAMESPACE, "ns")], true);
    assert!(error.unwrap_err().contains("unknown tokens \"a\", \"b\":"));
}

#[test]
fn lengths_are_those_of_dns1123() {
    let (name, namespace) = ("a".repeat(253), "a".repeat(63));
    let try_it = |name: &str, namespace: &str| {
        resolve(Stage::Provision, &[(NAME, name), (NAMESPACE, namespace)], true).is_ok()
    };
    assert!(try_it(&name, &namespace));
    assert!(!try_it(&format!("{name}a"), "ns") && !try_it("n", &format!("{namespace}a")));
    for name in ["-a", "a-", "a..b", ".a", "a.", "A", "a_b", "ä"] {
        assert!(!try_it(name, "ns"), "{name}");
    }
}

#[test]
fn strips_what_is_reserved_and_nothing_else() {
    fn kept(pairs: Pairs<'_>) -> Result<BTreeMap<String, String>, UnknownParameter> {
        strip_reserved(&map(pairs))
    }
    assert_eq!(kept(&[]), Ok(map(&[])));
    assert_eq!(kept(&[("a", "1"), ("b", "2")]), Ok(map(&[("a", "1"), ("b", "2")])));
    let in_value = &[("a", "csi.storage.k8s.io/fstype")];
    assert_eq!(kept(in_value), Ok(map(in_value)));
    assert_eq!(kept(&[("csi.storage.k8s.io/fstype", "xfs"), ("b", "2")]), Ok(map(&[("b", "2")])));

    let mut known = map(&[(ANY_NAME, "n"), (ANY_NAMESPACE, "ns"), ("csi.storage.k8s.io/fstype", "")]);
    for stage in [
        "provisioner",
        "controller-publish",
        "node-stage",
        "node-publish",
        "controller-expand",
        "node-expand",
        "controller-modify",
    ] {
        for part in ["name", "namespace"] {
            known.insert(format!("csi.storage.k8s.io/{stage}-secret-{part}"), "x".to_owned());
        }
    }
    assert_eq!(strip_reserved(&known), Ok(map(&[])));

    let deprecated = &[
        ("fstype", "ext4"),
        (OLD_NAME, "n"),
        (OLD_NAMESPACE, "ns"),
        ("csiControllerPublishSecretName", "n"),
        ("csiControllerPublishSecretNamespace", "ns"),
        ("csiNodeStageSecretName", "n"),
        ("csiNodeStageSecretNamespace", "ns"),
        ("csiNodePublishSecretName", "n"),
        ("csiNodePublishSecretNamespace", "ns"),
    ];
    assert_eq!(kept(deprecated), Ok(map(deprecated)));

    for key in ["csi.storage.k8s.io/pvc/name", "csi.storage.k8s.io/FSType", "csi.storage.k8s.io/"] {
        assert_eq!(kept(&[(key, "x")]), Err(UnknownParameter(key.to_owned())));
    }
}

#[test]
fn file_system_comes_from_one_parameter_or_the_default() {
    for (parameters, default, want) in [
        (&[][..], "ext4", "ext4"),
        (&[], "", ""),
        (&[("fstype", "xfs")], "ext4", "xfs"),
        (&[("FsType", "xfs")], "", "xfs"),
        (&[("csi.storage.k8s.io/fstype", "xfs")], "ext4", "xfs"),
        (&[("fstype", "")], "ext4", "ext4"),
    ] {
        assert_eq!(fs_type(&map(parameters), default), Ok(want.to_owned()));
    }
    for pair in [[("fsType", "xfs"), ("csi.storage.k8s.io/fstype", "xfs")], [("fsType", ""), ("fstype", "")]]
    {
        assert!(fs_type(&map(&pair), "ext4").is_err());
    }
}
