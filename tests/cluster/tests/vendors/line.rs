//! How vendors start the sidecars: the tables of `testdata/vendors`.
//!
//! A row is one of these, its fields apart by tabs:
//!
//! ```text
//! driver  NAME  PLUGIN CAPABILITIES  CONTROLLER CAPABILITIES  NODE CAPABILITIES
//! right   ACCOUNT  cluster|namespace  GROUP/RESOURCE  VERBS  [the only VARIANT]
//! image   SIDECAR  IMAGE  -|VARIANTS, by commas
//! start   SIDECAR  VARIANT/PLACE  DRIVER  ACCOUNT  ENVIRONMENT  ARGUMENTS
//! ```
//!
//! `{socket}` stands for the path of the driver's socket, and `-` for nothing.

use std::collections::BTreeMap;

use serde_json::{Value, json};

const TABLES: [(&str, &str); 7] = [
    ("aws-ebs", include_str!("../../testdata/vendors/aws-ebs.tsv")),
    ("azuredisk", include_str!("../../testdata/vendors/azuredisk.tsv")),
    ("ceph-csi-operator", include_str!("../../testdata/vendors/ceph-csi-operator.tsv")),
    ("democratic-csi", include_str!("../../testdata/vendors/democratic-csi.tsv")),
    ("longhorn", include_str!("../../testdata/vendors/longhorn.tsv")),
    ("nfs", include_str!("../../testdata/vendors/nfs.tsv")),
    ("topolvm", include_str!("../../testdata/vendors/topolvm.tsv")),
];

/// The words of a field.
fn words(field: &str) -> Vec<String> {
    field.split_whitespace().filter(|word| *word != "-").map(str::to_owned).collect()
}

/// What a vendor's driver says that it can do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Abilities {
    pub(crate) name: String,
    pub(crate) plugin: Vec<String>,
    pub(crate) controller: Vec<String>,
    pub(crate) node: Vec<String>,
}

/// How one container is started.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    pub(crate) sidecar: String,
    pub(crate) variant: String,
    pub(crate) place: String,
    pub(crate) driver: String,
    pub(crate) account: String,
    pub(crate) environment: Vec<String>,
    pub(crate) arguments: Vec<String>,
}

impl Line {
    /// Whether the last flag of this name, with one dash or two, is given and not `false`.
    pub(crate) fn has(&self, flag: &str) -> bool {
        let given = self.arguments.iter().rev().find_map(|argument| {
            let (name, value) = argument.split_once('=').unwrap_or((argument, "true"));
            (name.trim_start_matches('-') == flag).then_some(value)
        });
        given.is_some_and(|value| value != "false")
    }

    /// Whether it is one of the three that need an API server.
    pub(crate) fn is_controller(&self) -> bool {
        self.account != "-"
    }

    /// For messages.
    pub(crate) fn title(&self, vendor: &str) -> String {
        format!("{vendor} {} {}/{}", self.sidecar, self.variant, self.place)
    }
}

/// One right of an account.
#[derive(Debug, Clone)]
struct Right {
    account: String,
    scope: String,
    resource: String,
    verbs: Vec<String>,
    variant: Option<String>,
}

/// One table.
#[derive(Debug)]
pub(crate) struct Vendor {
    pub(crate) name: &'static str,
    pub(crate) lines: Vec<Line>,
    /// The sidecar, its image, and the variants that have it; none means all.
    pub(crate) images: Vec<(String, String, Vec<String>)>,
    drivers: BTreeMap<String, Abilities>,
    rights: Vec<Right>,
}

impl Vendor {
    /// All of them.
    pub(crate) fn all() -> Vec<Vendor> {
        TABLES.iter().map(|(name, table)| Self::read(name, table)).collect()
    }

    fn read(name: &'static str, table: &str) -> Vendor {
        let mut vendor = Vendor {
            name,
            lines: Vec::new(),
            images: Vec::new(),
            drivers: BTreeMap::new(),
            rights: Vec::new(),
        };
        for row in table.lines().filter(|row| !row.starts_with('#')) {
            match row.split('\t').collect::<Vec<_>>()[..] {
                ["driver", name, plugin, controller, node] => {
                    let abilities = Abilities {
                        name: name.to_owned(),
                        plugin: words(plugin),
                        controller: words(controller),
                        node: words(node),
                    };
                    vendor.drivers.insert(name.to_owned(), abilities);
                }
                ["right", account, scope, resource, verbs, ref variant @ ..] => vendor.rights.push(Right {
                    account: account.to_owned(),
                    scope: scope.to_owned(),
                    resource: resource.to_owned(),
                    verbs: words(verbs),
                    variant: variant.first().map(|variant| (*variant).to_owned()),
                }),
                ["image", sidecar, image, variants] => {
                    let variants =
                        variants.split(',').filter(|name| *name != "-").map(str::to_owned).collect();
                    vendor.images.push((sidecar.to_owned(), image.to_owned(), variants));
                }
                ["start", sidecar, place, driver, account, environment, arguments] => {
                    let (variant, place) = place.split_once('/').expect("a variant and a place");
                    vendor.lines.push(Line {
                        sidecar: sidecar.to_owned(),
                        variant: variant.to_owned(),
                        place: place.to_owned(),
                        driver: driver.to_owned(),
                        account: account.to_owned(),
                        environment: words(environment),
                        arguments: words(arguments),
                    });
                }
                _ => panic!("{name}: no such row: {row:?}"),
            }
        }
        vendor
    }

    /// What the driver of this name can do.
    pub(crate) fn abilities(&self, driver: &str) -> Abilities {
        self.drivers.get(driver).cloned().expect("a driver of the table")
    }

    /// The account's rights in this variant, as YAML documents: one ClusterRole and one Role.
    pub(crate) fn roles(&self, account: &str, variant: &str) -> String {
        let rules = |scope: &str| -> Vec<Value> {
            let rights = self.rights.iter().filter(|right| right.account == account && right.scope == scope);
            let rights = rights.filter(|right| right.variant.as_deref().is_none_or(|only| only == variant));
            rights.map(Right::rule).collect()
        };
        let role = |kind: &str, scope: &str| {
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
                "metadata": {"name": account}, "rules": rules(scope),
            })
        };
        format!("{}\n---\n{}", role("ClusterRole", "cluster"), role("Role", "namespace"))
    }
}

impl Right {
    fn rule(&self) -> Value {
        // A group has a dot or is `apps`, `policy`; the rest after a slash is a subresource.
        let is_group = |word: &str| word.contains('.') || ["apps", "policy"].contains(&word);
        let (group, resource) = match self.resource.split_once('/') {
            Some((group, resource)) if is_group(group) => (group, resource),
            _ => ("", self.resource.as_str()),
        };
        json!({ "apiGroups": [group], "resources": [resource], "verbs": self.verbs })
    }
}
