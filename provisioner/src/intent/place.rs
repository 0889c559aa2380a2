//! Where the intents are kept.

use base::name::sanitize_driver_name;

/// The Leases that hold the intents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Their namespace.
    pub namespace: String,
    /// Their names, without the number at the end.
    pub name: String,
    /// The same without the node, if there is a provisioner on each node.
    pub shared: Option<String>,
    /// The driver's name.
    pub driver: String,
    /// The node, if there is a provisioner on each.
    pub node: Option<String>,
}

/// Labels that say whose a Lease is, for `kubectl get leases --selector`.
pub(super) const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "mooring-csi-provisioner");
pub(super) const DRIVER: &str = "mooring.dev/driver";
/// The annotation with the node's name, which may be too long for a label.
pub(super) const NODE: &str = "mooring.dev/node";

impl Place {
    /// The Leases of a driver's provisioner, or of the one on this node: provisioners on nodes work side by side, and each has
    /// its own.
    pub fn new(namespace: String, driver: &str, node: Option<&str>) -> Self {
        let all = format!("mooring-intents-{}", sanitize_driver_name(driver).to_lowercase());
        let (name, shared) = match node {
            None => (all, None),
            Some(node) => (format!("{all}-{node}"), Some(all)),
        };
        Self { namespace, name, shared, driver: driver.to_owned(), node: node.map(str::to_owned) }
    }

    /// The driver's name as the value of a label. The names of CSI drivers fit; what does not is cut and replaced.
    pub(super) fn driver_label(&self) -> String {
        let fits = |one: char| one.is_ascii_alphanumeric() || matches!(one, '-' | '_' | '.');
        let text: String =
            self.driver.chars().map(|one| if fits(one) { one } else { '-' }).take(63).collect();
        text.trim_matches(|one: char| !one.is_ascii_alphanumeric()).to_owned()
    }

    /// The number of the Lease of this name, if it is one of these.
    pub(super) fn page(&self, name: &str) -> Option<usize> {
        let page = name.strip_prefix(&*self.name)?.strip_prefix('-')?.parse().ok()?;
        (self.lease(page) == name).then_some(page)
    }

    /// The node whose provisioner has the Lease of this name, if it is one of another node's, and the Lease's number.
    pub(super) fn other_node<'a>(&self, name: &'a str) -> Option<(&'a str, usize)> {
        let rest = name.strip_prefix(self.shared.as_deref()?)?.strip_prefix('-')?;
        let (node, page) = rest.rsplit_once('-')?;
        let page = page.parse().ok()?;
        self.page(name).is_none().then_some((node, page))
    }

    /// The place of a provisioner for all nodes, if this is that of one node's.
    pub(super) fn of_all(&self) -> Option<Place> {
        let Self { namespace, shared, driver, .. } = self.clone();
        Some(Self { namespace, name: shared?, shared: None, driver, node: None })
    }

    /// Whether a node's provisioner may have the Lease of this name, if this is the place of one for all nodes.
    pub(super) fn is_of_node(&self, name: &str) -> bool {
        let rest = name.strip_prefix(&*self.name).and_then(|rest| rest.strip_prefix('-'));
        let numbered = rest.and_then(|rest| rest.rsplit_once('-'));
        numbered.is_some_and(|(node, page)| !node.is_empty() && page.parse::<usize>().is_ok())
    }

    /// The name of the Lease with this number.
    pub(super) fn lease(&self, page: usize) -> String {
        format!("{}-{page}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_of_any_driver_name_is_valid() {
        let long = format!("a{}b", "x.".repeat(40));
        for (name, expected) in [
            ("rbd.csi.ceph.com", "rbd.csi.ceph.com"),
            ("a/b c_d", "a-b-c_d"),
            (".a-", "a"),
            ("...", ""),
            (&long, "ax.x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.x"),
        ] {
            let label = Place::new("ns".into(), name, None).driver_label();
            assert_eq!(label, expected);
            assert!(label.len() <= 63, "{label}");
        }
    }

    #[test]
    fn provisioner_of_each_node_has_leases_of_its_own() {
        let lease = |node| Place::new("ns".into(), "Hostpath.csi.k8s.io", node).lease(2);
        assert_eq!(lease(None), "mooring-intents-hostpath-csi-k8s-io-2");
        let own = Place::new("ns".into(), "driver", Some("node-1"));
        let other = |name| own.other_node(name);
        assert_eq!(other("mooring-intents-driver-node-2.example-12"), Some(("node-2.example", 12)));
        for own in
            ["mooring-intents-driver-node-1-0", "mooring-intents-driver-0", "mooring-intents-else-node-2-0"]
        {
            assert_eq!(other(own), None, "{own}");
        }
        let of_node = |name: &str| Place::new("ns".into(), "driver", None).is_of_node(name);
        assert!(of_node("mooring-intents-driver-node-2.example-12"));
        for name in
            ["mooring-intents-driver-0", "mooring-intents-driver--0", "x-y-0", "mooring-intents-driver-n"]
        {
            assert!(!of_node(name), "{name}");
        }
        let page = |name: &str| Place::new("ns".into(), "driver", None).page(name);
        assert_eq!(
            (page("mooring-intents-driver-0"), page("mooring-intents-driver-12")),
            (Some(0), Some(12))
        );
        for other in
            ["mooring-intents-driver-node-1-0", "mooring-intents-driver-01", "mooring-intents-driver-", "x-0"]
        {
            assert_eq!(page(other), None, "{other}");
        }
        assert_eq!(lease(Some("node-1.example")), "mooring-intents-hostpath-csi-k8s-io-node-1.example-2");
    }
}
