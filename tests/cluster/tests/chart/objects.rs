//! What the chart makes is well formed, and the API server takes it.

use cluster::image::TAG;
use cluster::{ControlPlane, Options};
use serde_json::json;

use crate::helm::{CHART, all_values, lint, of_kind, render, sidecars, values};

const POD_MONITORS: &str = include_str!("../../testdata/podmonitors.yaml");

#[test]
fn lint_finds_nothing_in_any_values_file() {
    for file in all_values() {
        let said = lint(&file);
        assert!(said.as_ref().is_ok_and(|said| said.contains("0 chart(s) failed")), "{file:?}: {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn api_server_takes_every_object_of_every_values_file() {
    let plane = ControlPlane::start(Options::default()).await.expect("a control plane");
    plane.apply(POD_MONITORS, "").await.expect("the definition");
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": crate::helm::NAMESPACE}});
    plane.apply_object(namespace, "").await.expect("a namespace");
    let mut kinds = std::collections::BTreeSet::new();
    for file in all_values() {
        for object in render(&file, &[]).expect("rendered") {
            let kind = object["kind"].as_str().expect("a kind").to_owned();
            // The definition of a kind is served a moment after it is stored.
            let taken = cluster::wait::until(&kind, std::time::Duration::from_secs(20), async || match plane
                .dry_run(object.clone(), "")
                .await
            {
                Err(cluster::ApplyError::Api { source, .. })
                    if kind == "PodMonitor" && is_absent(&source) =>
                {
                    None
                }
                answer => Some(answer),
            });
            taken.await.expect("an answer").unwrap_or_else(|error| panic!("{file:?}: {error}\n{object}"));
            kinds.insert(kind);
        }
    }
    let all = [
        "CSIDriver",
        "ClusterRole",
        "ClusterRoleBinding",
        "DaemonSet",
        "Deployment",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "PodMonitor",
        "Role",
        "RoleBinding",
        "ServiceAccount",
    ];
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), all);
}

fn is_absent(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
        || matches!(error, kube::Error::Discovery(_))
}

#[test]
fn chart_is_of_this_release() {
    let text = std::fs::read_to_string(format!("{CHART}/Chart.yaml")).expect("a chart");
    assert!(text.contains(&format!("\nappVersion: {TAG}\n")), "{text}");
    assert!(text.contains(&format!("\nversion: {}\n", TAG.trim_start_matches('v'))), "{text}");
}

#[test]
fn image_of_a_sidecar_is_its_own_or_the_registrys() {
    let objects = render(&values("vendor-sections"), &[]).expect("rendered");
    let images: Vec<&str> =
        sidecars(&objects).iter().map(|(_, one)| one["image"].as_str().expect("an image")).collect();
    let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let ours = |name: &str| format!("docker.io/mooring/{name}:{TAG}");
    let mut expected = vec![
        format!("registry.example.com/csi-provisioner@{digest}"),
        ours("csi-attacher"),
        ours("csi-resizer"),
        ours("csi-node-driver-registrar"),
        ours("livenessprobe"),
    ];
    expected.sort();
    let mut images: Vec<String> = images.into_iter().map(str::to_owned).collect();
    images.sort();
    assert_eq!(images, expected);
}

#[test]
fn section_of_a_sidecar_reaches_its_container() {
    let objects = render(&values("vendor-sections"), &[]).expect("rendered");
    let sidecars = sidecars(&objects);
    let (_, provisioner) = sidecars.iter().find(|(_, one)| one["name"] == "csi-provisioner").expect("there");
    assert_eq!(provisioner["imagePullPolicy"], "Always");
    assert_eq!(provisioner["resources"]["requests"], json!({"cpu": "20m", "memory": "20Mi"}));
    assert_eq!(provisioner["securityContext"]["allowPrivilegeEscalation"], false);
    let env = provisioner["env"].as_array().expect("an environment");
    assert!(
        env.contains(&json!({"name": "HTTP_PROXY", "value": "http://proxy.example.com:3128"})),
        "{env:?}"
    );
    let args: Vec<&str> =
        provisioner["args"].as_array().expect("args").iter().filter_map(|arg| arg.as_str()).collect();
    for expected in
        ["--leader-election-lease-duration=30s", "--v=5", "--worker-threads=200", "--http-endpoint=:8080"]
    {
        assert!(args.contains(&expected), "{expected}: {args:?}");
    }
}

#[test]
fn no_object_is_made_of_what_is_off() {
    let objects = render(&values("other-pod"), &["networkPolicy.enabled=false", "rbac.create=false"])
        .expect("rendered");
    let kinds: Vec<_> = objects.iter().map(|object| object["kind"].as_str().expect("a kind")).collect();
    assert_eq!(kinds, ["ServiceAccount", "Deployment"]);
    let sidecars = sidecars(&objects);
    let args = sidecars[0].1["args"].as_array().expect("args");
    assert!(args.contains(&json!("--controllers=provisioner,resizer")), "nothing is attached: {args:?}");
    let one = render(&values("combined"), &["controller.replicaCount=1"]).expect("rendered");
    assert!(of_kind(&one, "PodDisruptionBudget").is_empty(), "it would hold up every drain");
}

#[test]
fn prometheus_asks_by_https_where_the_programs_serve_it() {
    let endpoints = |set: &[&str]| {
        let objects = render(&values("tls"), set).expect("rendered");
        let endpoints = of_kind(&objects, "PodMonitor")[0]["spec"]["podMetricsEndpoints"].clone();
        endpoints.as_array().expect("endpoints").clone()
    };
    let ca = json!({"secret": {"name": "example-csi-tls", "key": "ca.crt"}});
    let by_name = json!({"serverName": "example-csi.storage.svc", "ca": ca});
    let skips = ["metrics.podMonitor.tlsConfig.insecureSkipVerify=true", "tls.serverName="];
    for (set, expected) in [(&[][..], by_name), (&skips, json!({"insecureSkipVerify": true}))] {
        let endpoints = endpoints(set);
        assert!(endpoints.len() > 3);
        for endpoint in endpoints {
            assert_eq!((&endpoint["scheme"], &endpoint["tlsConfig"]), (&json!("https"), &expected));
        }
    }
    let refused = render(&values("tls"), &["tls.serverName="]).expect_err("it asks by address");
    assert!(refused.contains("tls.serverName: Prometheus asks pods by address"), "{refused}");
    let idle = ["metrics.podMonitor.enabled=true", "metrics.podMonitor.tlsConfig.insecureSkipVerify=true"];
    let refused = render(&values("combined"), &idle).expect_err("nothing serves HTTPS");
    assert!(refused.contains("tlsConfig does nothing without tls.secretName"), "{refused}");
}

#[test]
fn update_strategy_has_what_its_type_takes() {
    let strategy = |file: &str, kind: &str, key: &str| {
        of_kind(&render(&values(file), &[]).expect("rendered"), kind)[0]["spec"][key].clone()
    };
    assert_eq!(strategy("other-pod", "Deployment", "strategy"), json!({"type": "Recreate"}));
    assert_eq!(strategy("separate", "DaemonSet", "updateStrategy"), json!({"type": "OnDelete"}));
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}});
    assert_eq!(strategy("combined", "Deployment", "strategy"), rolling);
}

#[test]
fn network_policy_needs_no_controller() {
    let off = ["controller.enabled", "sidecars.provisioner.enabled", "sidecars.attacher.enabled"];
    let mut set = off.map(|key| format!("{key}=false")).to_vec();
    set.push("sidecars.resizer.enabled=false".to_owned());
    let set: Vec<&str> = set.iter().map(String::as_str).collect();
    let objects = render(&values("separate"), &set).expect("the node's part alone");
    let policies = of_kind(&objects, "NetworkPolicy");
    assert_eq!(policies.len(), 1);
    let ports = policies[0].pointer("/spec/ingress/0/ports").expect("ports");
    let port = |number: u16| json!({"port": number, "protocol": "TCP"});
    assert_eq!(ports, &json!([port(9808), port(9809)]));
}

#[test]
fn root_is_not_asked_for_and_forbidden_at_once() {
    let context = |file: &str| {
        let objects = render(&values(file), &[]).expect("rendered");
        of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["securityContext"].clone()
    };
    let root = context("other-pod");
    assert_eq!(
        (&root["runAsUser"], &root["runAsNonRoot"]),
        (&json!(0), &json!(null)),
        "values merge with the defaults"
    );
    let nobody = context("combined");
    assert_eq!((&nobody["runAsUser"], &nobody["runAsNonRoot"]), (&json!(65532), &json!(true)));
}
