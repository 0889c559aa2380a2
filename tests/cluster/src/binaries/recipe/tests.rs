use super::*;

#[test]
fn reads_the_releases_from_go_mod() {
    assert_eq!(KUBERNETES.release(), "v1.37.2");
    assert_eq!(SANITY.release(), "v5.6.0");
    assert_eq!(PROVISIONER.release(), "v6.4.0");
    assert_eq!(ATTACHER.release(), "v4.13.0");
    assert_eq!(RESIZER.release(), "v2.3.0");
    assert_eq!(HELM.release(), "v3.22.0");
    assert_eq!(KUBERNETES.version_of(ETCD), "v3.7.0");
    assert_eq!(KUBERNETES.version_of("not.there/at/all"), "");
}

#[test]
fn names_every_staging_module_at_the_release() {
    for module in [KUBERNETES, KUBERNETES_BEFORE] {
        let staging = format!(" v0.{}", module.release().trim_start_matches("v1."));
        let replaced: Vec<&str> = module.go_mod.lines().filter(|line| line.contains(" => ")).collect();
        assert!(replaced.len() > 25, "only {} replaced", replaced.len());
        for line in replaced {
            assert!(line.ends_with(&staging), "{line}");
        }
    }
}

#[test]
fn the_release_before_is_chosen_by_name() {
    assert_eq!(kubernetes_of("").map(|module| module.release()), Some("v1.37.2"));
    assert_eq!(kubernetes_of("v1.37.2"), Some(KUBERNETES));
    assert_eq!(kubernetes_of("v1.36.3"), Some(KUBERNETES_BEFORE));
    assert_eq!(kubernetes_of("v1.35.0"), None);
    assert_ne!(KUBERNETES.folder(), KUBERNETES_BEFORE.folder());
}

#[test]
fn every_binary_is_a_tool_of_its_module() {
    for binary in Binary::ALL {
        let Recipe { name, module, package, .. } = binary.recipe();
        if module.program.is_some() {
            assert_eq!(package, ".", "{binary:?}");
            continue;
        }
        let is_tool = |line: &str| line.trim().trim_start_matches("tool ") == package;
        assert!(module.go_mod.lines().any(is_tool), "{binary:?}");
        assert!(package.ends_with(&format!("/{name}")) || binary == Binary::Etcd, "{binary:?}");
    }
}

#[test]
fn each_has_the_version_of_its_module() {
    for (binary, version) in [
        (Binary::ApiServer, "v1.37.2"),
        (Binary::Kubectl, "v1.37.2"),
        (Binary::CsiSanity, "v5.6.0"),
        (Binary::CsiProvisioner, "v6.4.0"),
        (Binary::CsiAttacher, "v4.13.0"),
        (Binary::CsiResizer, "v2.3.0"),
        (Binary::CsiTranslation, "v0.37.2"),
        (Binary::Etcd, "3.7.0"),
    ] {
        assert_eq!(binary.our_version(), version);
    }
}

#[test]
fn a_found_version_fits_or_not() {
    use Binary::{ApiServer, Etcd, Kubectl};
    for (binary, version, release, minor) in [
        (ApiServer, "v1.37.2", true, true),
        (ApiServer, "v1.37.0", false, true),
        (ApiServer, "v1.36.3", false, false),
        (ApiServer, "v2.37.2", false, false),
        (ApiServer, "main", false, false),
        (Etcd, "3.7.0", true, true),
        (Etcd, "3.6.8", false, true),
        (Etcd, "3.5.9", false, false),
        (Kubectl, "v1.38.0", false, true),
        (Kubectl, "v1.35.0", false, false),
    ] {
        let found = (binary.fits(version, Fit::Release), binary.fits(version, Fit::Minor));
        assert_eq!(found, (release, minor), "{binary:?} {version}");
    }
}

#[test]
fn a_binary_is_asked_for_its_version() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("kube-apiserver");
    assert_eq!(Binary::ApiServer.version_of(&file), None);
    std::fs::write(&file, "#!/bin/sh\necho Kubernetes v1.37.0\n").expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("executable");
    assert_eq!(Binary::ApiServer.version_of(&file).as_deref(), Some("v1.37.0"));
    assert_eq!(Binary::Kubectl.version_of(&file), None);
}
