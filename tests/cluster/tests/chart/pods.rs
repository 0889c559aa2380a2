//! The pods of the chart can start: their users, ports and probes agree.

use std::path::Path;

use serde_json::{Value, json};

use crate::helm::{all_values, render, values};

const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];

/// The specs of all pods that the chart makes of these values.
fn pods(file: &Path, set: &[&str]) -> Vec<Value> {
    let objects = render(file, set).unwrap_or_else(|why| panic!("{file:?} {set:?}: {why}"));
    objects.iter().filter_map(|object| object.pointer("/spec/template/spec")).cloned().collect()
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    pod["containers"].as_array().into_iter().flatten()
}

/// The container of the name.
fn container<'a>(pods: &'a [Value], name: &str) -> &'a Value {
    pods.iter().flat_map(containers).find(|one| one["name"] == name).expect("a container")
}

/// Its arguments, as one line.
fn arguments(container: &Value) -> String {
    let args = container["args"].as_array().expect("args");
    args.iter().map(|arg| arg.as_str().expect("text")).collect::<Vec<_>>().join(" ")
}

#[test]
fn no_pod_asks_for_root_and_forbids_it() {
    let roots = ["controller.podSecurityContext.runAsUser=0", "node.podSecurityContext.runAsUser=0"];
    let mut seen = 0;
    for file in all_values() {
        for set in [&[][..], &roots[..]] {
            for pod in pods(&file, set) {
                for container in containers(&pod) {
                    let of = |key: &str| match &container["securityContext"][key] {
                        Value::Null => pod["securityContext"][key].clone(),
                        own => own.clone(),
                    };
                    let both = of("runAsUser") == json!(0) && of("runAsNonRoot") == json!(true);
                    assert!(!both, "{file:?} {set:?}: the kubelet does not start {container}");
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn probe_asks_for_a_port_of_its_own_container() {
    let mut numbers = 0;
    for file in all_values() {
        for container in pods(&file, &[]).iter().flat_map(containers) {
            for port in PROBES.iter().filter_map(|probe| container[probe].pointer("/httpGet/port")) {
                match port.as_str() {
                    None => numbers += 1,
                    Some(name) => {
                        let ports = container["ports"].as_array().expect("ports");
                        assert!(ports.iter().any(|one| one["name"] == name), "{file:?}: {container}");
                    }
                }
            }
        }
    }
    assert!(numbers > 5, "{numbers}");
    let named = [
        "node.containers[0].name=driver",
        "node.containers[0].livenessProbe.httpGet.path=/healthz",
        "node.containers[0].livenessProbe.httpGet.port=healthz",
    ];
    let refused = render(&values("combined"), &named).expect_err("livenessprobe's port has that name");
    assert!(refused.contains("which that container does not declare: say the number"), "{refused}");
    let declared = [
        &named[..],
        &["node.containers[0].ports[0].name=healthz", "node.containers[0].ports[0].containerPort=9808"],
    ];
    render(&values("combined"), &declared.concat()).expect("the vendor's own name");
    let empty = ["node.containers[0].name=driver", "node.containers[0].livenessProbe.httpGet=null"];
    render(&values("combined"), &empty).expect("no probe at all");
}

#[test]
fn probe_of_ours_asks_where_the_program_listens() {
    for file in all_values() {
        for container in pods(&file, &[]).iter().flat_map(containers) {
            let name = container["name"].as_str().expect("a name");
            if name == "driver" || name == "ebs-plugin" {
                continue;
            }
            for get in PROBES.iter().filter_map(|probe| container[probe].get("httpGet")) {
                let host = get["host"].as_str().unwrap_or_default();
                let listens = format!("--http-endpoint={host}:{}", get["port"]);
                assert!(arguments(container).contains(&listens), "{file:?} {listens}: {container}");
            }
        }
    }
}

#[test]
fn port_that_the_vendor_declares_is_not_declared_twice() {
    let vendors =
        ["node.containers[0].ports[0].containerPort=9808", "node.containers[0].ports[0].name=healthz"];
    let set = [&["node.containers[0].name=driver"], &vendors[..]].concat();
    let pods = pods(&values("combined"), &set);
    let node = container(&pods, "csi-node");
    assert_eq!(node.get("ports"), None, "the API server refuses two of them on the host's network");
    assert_eq!(node["readinessProbe"]["httpGet"]["port"], 9808);
    assert!(container(&pods, "csi-controller").get("ports").is_some(), "the other pod keeps its own");
}

#[test]
fn host_network_takes_no_port_from_other_pods() {
    let on = ["node.hostNetwork=true", "controller.hostNetwork=true"];
    let ports = |pods: &[Value], name: &str| container(pods, name).get("ports").cloned();
    let without = pods(&values("combined"), &on);
    assert_eq!((ports(&without, "csi-node"), ports(&without, "csi-controller")), (None, None));
    let monitored = pods(&values("combined"), &[&on[..], &["metrics.podMonitor.enabled=true"]].concat());
    assert!(ports(&monitored, "csi-node").is_some(), "the operator looks for the port's name");
}

#[test]
fn replicas_on_the_host_network_share_no_node() {
    let affinity = |set: &[&str]| {
        let pods = pods(&values("combined"), set);
        let of = |pod: &&Value| containers(pod).any(|one| one["name"] == "csi-controller");
        pods.iter().find(of).expect("the controller's pod").get("affinity").cloned()
    };
    let apart = affinity(&["controller.hostNetwork=true"]).expect("an affinity");
    let term = &apart["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0];
    assert_eq!(term["topologyKey"], "kubernetes.io/hostname");
    let name = &term["labelSelector"]["matchLabels"]["app.kubernetes.io/name"];
    assert!(name.as_str().is_some_and(|name| name.ends_with("-controller")), "{name}");
    assert_eq!(affinity(&[]), None);
    let own = affinity(&["controller.hostNetwork=true", "controller.affinity.nodeAffinity.a=b"]);
    assert_eq!(own, Some(json!({"nodeAffinity": {"a": "b"}})), "the values' own counts");
}

#[test]
fn controller_s_probe_has_nothing_that_pod_security_forbids() {
    let set = ["controller.livenessProbe.enabled=true", "controller.livenessProbe.httpPort=9818"];
    let probe = |more: &[&str]| {
        let pods = pods(&values("separate"), &[&set[..], more].concat());
        let of = |pod: &&Value| containers(pod).any(|one| one["name"] == "csi-provisioner");
        let pod = pods.iter().find(of).expect("the controller's pod").clone();
        let probe = containers(&pod).find(|one| one["name"] == "liveness-probe").expect("a probe").clone();
        probe["securityContext"].clone()
    };
    assert_eq!(probe(&[])["seLinuxOptions"], Value::Null);
    assert_eq!(probe(&[])["readOnlyRootFilesystem"], true);
    assert_eq!(probe(&["controller.socketHostPath=/var/lib/x"])["seLinuxOptions"]["type"], "spc_t");
}

#[test]
fn host_of_the_endpoint_reaches_program_and_probe() {
    for (host, listens) in [("127.0.0.1", "127.0.0.1:9808"), ("::1", "[::1]:9808")] {
        let set = ["node.hostNetwork=true".to_owned(), format!("node.httpHost={host}")];
        let pods = pods(&values("combined"), &[&set[0], &set[1]]);
        let node = container(&pods, "csi-node");
        assert!(arguments(node).contains(&format!("--http-endpoint={listens} ")), "{node}");
        assert_eq!(node["readinessProbe"]["httpGet"]["host"], host);
        let controller = container(&pods, "csi-controller");
        assert!(arguments(controller).contains("--http-endpoint=:8080 "), "{controller}");
    }
    let refused = render(&values("combined"), &["node.httpHost=127.0.0.1"]).expect_err("nobody could ask");
    assert!(refused.contains("node.httpHost: only with node.hostNetwork=true"), "{refused}");
}

#[test]
fn ports_that_collide_are_refused() {
    let one_pod = ["sidecars.resizer.httpPort=8081"];
    let refused = render(&values("separate"), &one_pod).expect_err("one pod has a port once");
    assert!(refused.contains("sidecars.attacher.httpPort and sidecars.resizer.httpPort"), "{refused}");
    let mut one_host =
        vec!["controller.hostNetwork=true", "node.hostNetwork=true", "controller.livenessProbe.enabled=true"];
    let refused = render(&values("combined"), &one_host).expect_err("one host has a port once");
    assert!(refused.contains("controller.livenessProbe.httpPort and sidecars.node.httpPort"), "{refused}");
    one_host.push("controller.livenessProbe.httpPort=9818");
    let pods = pods(&values("combined"), &one_host);
    assert!(arguments(container(&pods, "liveness-probe")).contains("--http-endpoint=:9818"));
}

#[test]
fn registrar_has_the_probe_of_the_vendors_values() {
    let pods = pods(&values("vendor-sections"), &[]);
    let registrar = container(&pods, "node-driver-registrar");
    let probe = json!({
        "exec": {"command": [
            "/csi-node-driver-registrar",
            "--kubelet-registration-path=$(DRIVER_REG_SOCK_PATH)",
            "--mode=kubelet-registration-probe",
        ]},
        "initialDelaySeconds": 30, "periodSeconds": 90, "timeoutSeconds": 15,
    });
    assert_eq!(registrar["livenessProbe"], probe);
    let path = "/var/lib/kubelet/plugins/ebs.csi.aws.com/csi.sock";
    let env = registrar["env"].as_array().expect("an environment");
    assert!(env.contains(&json!({"name": "DRIVER_REG_SOCK_PATH", "value": path})), "{env:?}");
    assert!(env.contains(&json!({"name": "A", "value": "b"})), "the values' own stay: {env:?}");
    assert!(arguments(registrar).contains(&format!("--kubelet-registration-path={path}")));
    assert!(registrar.get("readinessProbe").is_some(), "ours stays");
    let none = self::pods(&values("separate"), &[]);
    let registrar = container(&none, "node-driver-registrar");
    assert_eq!((registrar.get("livenessProbe"), registrar.get("env")), (None, None));
}

#[test]
fn tls_reaches_every_program_its_probes_and_its_certificate() {
    let secret = ["tls.secretName=cert", "node.containers[0].name=driver"];
    let https = [&secret[..], &["node.containers[0].livenessProbe.httpGet.scheme=HTTPS"]].concat();
    let (combined, separate) = (pods(&values("combined"), &https), pods(&values("tls"), &[]));
    let mut probes = 0;
    for (pods, secret) in [(&combined, "cert"), (&separate, "example-csi-tls")] {
        for pod in pods {
            let volume = json!({"name": "mooring-tls", "secret": {"secretName": secret}});
            assert!(pod["volumes"].as_array().expect("volumes").contains(&volume), "{pod}");
            for container in containers(pod).filter(|one| one["name"] != "driver") {
                let said = arguments(container);
                let flags = "--tls-cert-file=/tls/tls.crt --tls-private-key-file=/tls/tls.key";
                let mount = json!({"name": "mooring-tls", "mountPath": "/tls", "readOnly": true});
                let mounts = container["volumeMounts"].as_array().expect("mounts");
                assert!(said.contains(flags) && mounts.contains(&mount), "{container}");
                for get in PROBES.iter().filter_map(|probe| container[probe].get("httpGet")) {
                    assert_eq!(get["scheme"], "HTTPS", "{container}");
                    probes += 1;
                }
            }
        }
    }
    assert!(probes >= 6, "{probes}");
    let without = serde_json::to_string(&pods(&values("combined"), &[])).expect("JSON");
    assert!(!without.contains("tls") && !without.contains("scheme"), "{without}");
}

#[test]
fn probe_of_the_vendor_speaks_as_our_port_does() {
    let on = "tls.secretName=cert";
    let refused = render(&values("combined"), &[on]).expect_err("the driver would be restarted for ever");
    assert!(refused.contains("asks port 9808, where our container speaks HTTPS"), "{refused}");
    let refused = render(&values("tls"), &["tls.secretName="]).expect_err("likewise");
    assert!(refused.contains("where our container speaks HTTP: set scheme: HTTP"), "{refused}");
    let registrar = "sidecars.nodeDriverRegistrar.livenessProbe.httpGet.port=registrar";
    let refused = render(&values("tls"), &[registrar]).expect_err("likewise");
    assert!(refused.contains("livenessProbe of node-driver-registrar asks port 9809"), "{refused}");
    let elsewhere = ["node.containers[0].livenessProbe.httpGet.port=9000", "node.containers[0].name=driver"];
    render(&values("combined"), &[&[on][..], &elsewhere].concat()).expect("the vendor's own port");
}
