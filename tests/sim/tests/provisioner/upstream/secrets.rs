//! TestGetSecretReference: what the class's parameters and the claim's annotations lead to.

use serde_json::{Value, json};
use sim::objects::{class, secret, with};

use crate::harness::{PROVISIONER, events, waiting};

const NAME: &str = "csi.storage.k8s.io/provisioner-secret-name";
const NAMESPACE: &str = "csi.storage.k8s.io/provisioner-secret-namespace";
const OLD_NAME: &str = "csiProvisionerSecretName";
const OLD_NAMESPACE: &str = "csiProvisionerSecretNamespace";
const PUBLISH_NAME: &str = "csi.storage.k8s.io/node-publish-secret-name";
const PUBLISH_NAMESPACE: &str = "csi.storage.k8s.io/node-publish-secret-namespace";

fn objects(parameters: &[(&str, &str)]) -> Vec<Value> {
    let mut map = json!({});
    for (key, value) in parameters {
        map[*key] = json!(value);
    }
    vec![
        with(class(), json!({"parameters": map})),
        with(waiting("data"), json!({"metadata": {"annotations": {"akey": "avalue"}}})),
        secret("default", "s", json!({})),
        secret("default", "avalue", json!({})),
        secret("default", "data", json!({})),
    ]
}

/// `namespace/name` of the provision Secret and of the one of NodePublishVolume.
fn found(volume: &Value) -> (String, String) {
    let annotation = |what: &str| {
        let name = format!("volume.kubernetes.io/provisioner-deletion-secret-{what}");
        volume["metadata"]["annotations"][name].as_str().unwrap_or_default().to_owned()
    };
    let publish = &volume["spec"]["csi"]["nodePublishSecretRef"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (
        format!("{}/{}", annotation("namespace"), annotation("name")),
        format!("{}/{}", text(&publish["namespace"]), text(&publish["name"])),
    )
}

#[tokio::test(start_paused = true)]
async fn references_that_upstream_resolves_are_resolved() {
    for (row, parameters, provision, publish) in [
        ("no params", &[][..], "/", "/"),
        ("[deprecated] simple - valid", &[(OLD_NAME, "s"), (OLD_NAMESPACE, "default")], "default/s", "/"),
        ("simple - valid", &[(NAME, "s"), (NAMESPACE, "default")], "default/s", "/"),
        ("deprecated and new mixed", &[(OLD_NAME, "s"), (NAMESPACE, "default")], "default/s", "/"),
        (
            "template - valid PVC annotations for Provision and Delete",
            &[(NAME, "${pvc.annotations['akey']}"), (NAMESPACE, "default")],
            "default/avalue",
            "/",
        ),
        (
            "template - valid nodepublish secret ref",
            &[
                (PUBLISH_NAMESPACE, "static-${pvc.namespace}"),
                (PUBLISH_NAME, "static-${pvc.namespace}-${pvc.name}-${pvc.annotations['akey']}"),
            ],
            "/",
            "static-default/static-default-data-avalue",
        ),
        (
            "template - valid provisioner secret ref",
            &[(NAMESPACE, "${pvc.namespace}"), (NAME, "s")],
            "default/s",
            "/",
        ),
        (
            "template - valid, with pvc.name",
            &[(NAMESPACE, "${pvc.namespace}"), (NAME, "${pvc.name}")],
            "default/data",
            "/",
        ),
    ] {
        let case = PROVISIONER.case(row, objects(parameters));
        let world = case.ends_with(&["CreateVolume Some(Ok)"], &["create persistentvolumes 201"]).await;
        let volume = world.api.list("persistentvolumes")[0].clone();
        assert_eq!(found(&volume), (provision.to_owned(), publish.to_owned()), "{row}");
    }
}

#[tokio::test(start_paused = true)]
async fn references_that_upstream_refuses_are_refused() {
    for (row, parameters, text) in [
        ("no namespace", &[(NAME, "s")][..], NAMESPACE),
        ("no name", &[(NAMESPACE, "default")], NAME),
        ("[deprecated] no namespace", &[(OLD_NAME, "s")], NAMESPACE),
        ("[deprecated] no name", &[(OLD_NAMESPACE, "default")], NAME),
        ("empty err", &[(NAME, ""), (NAMESPACE, "")], NAME),
        ("[deprecated] empty err", &[(OLD_NAME, ""), (OLD_NAMESPACE, "")], OLD_NAME),
        (
            "pair of both kinds",
            &[(NAME, "s"), (NAMESPACE, "default"), (OLD_NAME, "s"), (OLD_NAMESPACE, "default")],
            OLD_NAME,
        ),
        ("both names", &[(NAME, "s"), (OLD_NAME, "s"), (NAMESPACE, "default")], OLD_NAME),
        (
            "both namespaces",
            &[(NAME, "s"), (NAMESPACE, "default"), (OLD_NAMESPACE, "default")],
            OLD_NAMESPACE,
        ),
        ("simple - invalid name", &[(NAME, "bad name"), (NAMESPACE, "default")], "bad name"),
        ("simple - invalid namespace", &[(NAME, "s"), (NAMESPACE, "bad name")], "bad name"),
        (
            "template - PVC name annotations not supported for Provision and Delete",
            &[(NAME, "static-${pvc.annotations['akey']}")],
            NAMESPACE,
        ),
        ("template - invalid namespace tokens", &[(NAME, "s"), (NAMESPACE, "mynamespace${bar}")], "bar"),
        ("template - invalid name tokens", &[(NAME, "myname${foo}"), (NAMESPACE, "default")], "foo"),
    ] {
        let world = PROVISIONER.case(row, objects(parameters)).ends_with(&[], &[]).await;
        let said = events(&world);
        let told = |event: &String| event.starts_with("ProvisioningFailed: ") && event.contains(text);
        assert!(said.iter().any(told), "{row}: {said:?}");
    }
}
