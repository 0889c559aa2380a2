//! Wrong values are refused, and the message has the key.

use crate::helm::{render, values};

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
        ("sidecars.snapshotter.enabled=true", "'snapshotter' not allowed"),
        ("sidecars.provisioner.logLevel=high", "'/sidecars/provisioner/logLevel'"),
        ("sidecars.provisioner.additionalArgs[0]=timeout=5s", "'/sidecars/provisioner/additionalArgs/0'"),
        ("sidecars.provisioner.image.digest=sha256:1", "'/sidecars/provisioner/image/digest'"),
        (
            "sidecars.attacher.leaderElection.leaseDuration=15",
            "'/sidecars/attacher/leaderElection/leaseDuration'",
        ),
        ("sidecars.node.httpPort=70000", "'/sidecars/node/httpPort'"),
        ("metrics.podMonitor.interval=often", "'/metrics/podMonitor/interval'"),
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
