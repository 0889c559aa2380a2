//! Wrong values are refused, and the message has the key.

use cluster::apply::documents;
use serde_json::Value;

use crate::helm::{CHART, render, values};

#[test]
fn wrong_value_is_refused_with_its_key() {
    for (set, said) in [
        ("driver.name=", "'/driver/name'"),
        ("driver.name=a b", "'/driver/name'"),
        ("driver.features.attach=5", "'/driver/features/attach'"),
        ("driver.features.grow=true", "'grow' not allowed"),
        ("image.pullPolicy=Sometimes", "'/image/pullPolicy'"),
        ("controller.replicsCount=3", "'replicsCount' not allowed"),
        ("controller.replicaCount=-1", "'/controller/replicaCount'"),
        ("controller.mode=both", "'/controller/mode'"),
        ("controller.socketHostPath=csi", "'/controller/socketHostPath'"),
        (
            "controller.podDisruptionBudget.maxUnavailable=some",
            "'/controller/podDisruptionBudget/maxUnavailable'",
        ),
        ("node.kubeletPath=kubelet", "'/node/kubeletPath'"),
        ("node.containers[1].image=x", "missing property 'name'"),
        ("sidecars.livenessProbe=null", "missing property 'livenessProbe'"),
        ("sidecars.snapshotter.enabled=true", "'snapshotter' not allowed"),
        ("sidecars.provisioner.logLevel=high", "'/sidecars/provisioner/logLevel'"),
        ("sidecars.provisioner.additionalArgs[0]=timeout=5s", "'/sidecars/provisioner/additionalArgs/0'"),
        ("sidecars.provisioner.image.digest=sha256:1", "'/sidecars/provisioner/image/digest'"),
        (
            "sidecars.attacher.leaderElection.leaseDuration=15",
            "'/sidecars/attacher/leaderElection/leaseDuration'",
        ),
        ("sidecars.node.httpPort=70000", "'/sidecars/node/httpPort'"),
        (
            "controller.serviceAccount.automountServiceAccountToken=false",
            "'automountServiceAccountToken' not allowed",
        ),
        ("metrics.podMonitor.interval=often", "'/metrics/podMonitor/interval'"),
        ("tls.secretName=Not A Name", "'/tls/secretName'"),
        ("tls.secret=x", "'secret' not allowed"),
    ] {
        let answer = render(&values("combined"), &[set]).map(|objects| objects.len());
        assert!(answer.as_ref().is_err_and(|why| why.contains(said)), "{set}: {answer:?}");
    }
}

#[test]
fn values_that_cannot_work_together_are_refused() {
    for (set, said) in [
        (&["controller.containers=null"][..], "nothing would serve the driver's socket"),
        (
            &["sidecars.attacher.additionalArgs[0]=--timeout=5s"],
            "say --attacher-FLAG=VALUE in sidecars.controller.additionalArgs",
        ),
        (
            &["sidecars.controller.leaderElection.enabled=false"],
            "sidecars.controller.leaderElection.enabled: without it, two",
        ),
        (
            &["sidecars.controller.leaderElection.enabled=false", "controller.replicaCount=1"],
            "set controller.replicaCount to 1 and controller.updateStrategy.type to Recreate",
        ),
        (
            &[
                "sidecars.provisioner.enabled=false",
                "sidecars.attacher.enabled=false",
                "sidecars.resizer.enabled=false",
            ],
            "set controller.enabled to false",
        ),
    ] {
        let answer = render(&values("combined"), set).map(|objects| objects.len());
        assert!(answer.as_ref().is_err_and(|why| why.contains(said)), "{set:?}: {answer:?}");
    }
}

#[test]
fn image_of_a_go_sidecar_is_refused() {
    for repository in [
        "registry.k8s.io/sig-storage/csi-attacher",
        "public.ecr.aws/csi-components/csi-attacher",
        "public.ecr.aws/eks-distro/kubernetes-csi/external-attacher",
    ] {
        let set = format!("sidecars.attacher.image.repository={repository}");
        let why = render(&values("separate"), &[&set]).expect_err("Go's would run unnoticed");
        assert!(why.contains(&format!("{repository} is the Go sidecar: leave image out")), "{why}");
    }
    let mirror = "sidecars.attacher.image.repository=registry.example.com/sig-storage/csi-attacher";
    render(&values("separate"), &[mirror]).expect("a registry of the user's");
}

#[test]
fn flag_that_the_probes_would_not_follow_is_refused() {
    for (file, key, flag, said) in [
        ("combined", "controller", "--tls-cert-file=/tls/tls.crt", "tls.secretName says it"),
        ("combined", "node", "-tls-private-key-file=/tls/tls.key", "tls.secretName says it"),
        ("separate", "resizer", "--http-require-token", "PodMonitor has no token"),
        ("separate", "livenessProbe", "--http-endpoint=:9", "httpPort and httpHost say it"),
        ("separate", "nodeDriverRegistrar", "--health-port=9", "httpPort and httpHost say it"),
        ("separate", "attacher", "--metrics-address=:9", "httpPort and httpHost say it"),
    ] {
        let set = format!("sidecars.{key}.additionalArgs[0]={flag}");
        let answer = render(&values(file), &[&set]).map(|objects| objects.len());
        let name = flag.split('=').next().expect("a flag");
        let is_said = |why: &String| why.contains(name) && why.contains(said);
        assert!(answer.as_ref().is_err_and(is_said), "{set}: {answer:?}");
    }
}

#[test]
fn value_of_the_other_mode_is_refused() {
    let combined = [
        ("sidecars.provisioner.resources.limits.memory=1Gi", "set it in sidecars.controller"),
        ("sidecars.resizer.leaderElection.leaseDuration=30s", "set it in sidecars.controller"),
        ("sidecars.attacher.image.tag=v1", "set it in sidecars.controller"),
        ("sidecars.nodeDriverRegistrar.logLevel=5", "set it in sidecars.node"),
        ("sidecars.livenessProbe.httpPort=9999", "set it in sidecars.node"),
    ];
    let separate = [
        ("sidecars.controller.httpPort=9999", "set it in sidecars.provisioner, sidecars.attacher and"),
        ("sidecars.node.env[0].name=A", "set it in sidecars.nodeDriverRegistrar and sidecars.livenessProbe"),
    ];
    for (file, cases) in [("combined", &combined[..]), ("separate", &separate[..])] {
        for (set, instead) in cases {
            let key: String = set.split('.').take(3).collect::<Vec<_>>().join(".");
            let key = key.split(['=', '[']).next().expect("a key");
            let answer = render(&values(file), &[set]).map(|objects| objects.len());
            let said =
                |why: &String| why.contains(&format!("{key} does nothing with ")) && why.contains(instead);
            assert!(answer.as_ref().is_err_and(said), "{file} {set}: {answer:?}");
        }
    }
    for (set, why) in [
        (&["sidecars.resizer.logLevel=2"][..], "the default"),
        (&["sidecars.resizer.enabled=false"], "used in both modes"),
        (&["sidecars.provisioner.additionalClusterRoleRules[0].verbs[0]=get"], "used in both modes"),
        (&["sidecars.livenessProbe.logLevel=5", "controller.livenessProbe.enabled=true"], "it runs"),
        (&["sidecars.nodeDriverRegistrar.logLevel=5", "node.enabled=false"], "no mode of the node"),
    ] {
        let answer = render(&values("combined"), set).map(|objects| objects.len());
        assert!(answer.is_ok(), "{why}: {answer:?}");
    }
}

#[test]
fn sections_are_compared_with_the_defaults_of_values_yaml() {
    let read = |file: &str| {
        let text = std::fs::read_to_string(format!("{CHART}/{file}")).expect("a file");
        documents(&text).expect("YAML").remove(0)
    };
    let (values, kept): (Value, Value) = (read("values.yaml"), read("files/sidecars.json"));
    assert_eq!(kept, values["sidecars"], "copy `sidecars` of values.yaml to files/sidecars.json");
}
