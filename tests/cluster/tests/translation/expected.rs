//! The differences from upstream that `Differs:` notes in the crate mark.

use std::collections::BTreeSet;

use serde_json::Value;
use translation::Plugin;

use crate::question::Question;

/// Which marked difference explains that our answer (`None` for an error) is not upstream's.
pub(crate) fn difference(question: &Question, ours: Option<&Value>) -> Option<&'static str> {
    let plugin = question.plugin();
    match question {
        Question::Class { class, .. } if collide(&class["parameters"], zones_of(plugin)) => {
            Some("two parameters that become one")
        }
        Question::ToInTree { volume, .. } => {
            let attributes = &volume["spec"]["csi"]["volumeAttributes"];
            let partition = attributes["partition"].as_str().and_then(|text| text.parse::<i64>().ok());
            if ours.is_none() && partition.is_some_and(|number| i32::try_from(number).is_err()) {
                return Some("a partition of more than 32 bits");
            }
            // Only Azure's drivers spell their attributes in any case.
            let folds = [Plugin::AzureDisk, Plugin::AzureFile].contains(&plugin);
            (folds && collide(attributes, &[])).then_some("two attributes that become one")
        }
        Question::Inline { plugin: Plugin::Vsphere, volume, .. } => {
            let policy = volume["vsphereVolume"]["storagePolicyName"].as_str().unwrap_or_default();
            (!policy.is_empty()).then_some("upstream crashes on a storage policy")
        }
        Question::Inline { plugin: Plugin::AwsEbs, volume, .. } => strange_id(volume, ours),
        Question::ToCsi { plugin: Plugin::AwsEbs, volume } => strange_id(&volume["spec"], ours),
        Question::Class { .. }
        | Question::Inline { .. }
        | Question::ToCsi { .. }
        | Question::Repair { .. }
        | Question::Names { .. } => None,
    }
}

/// The parameters that become one topology, in the plugins that make one of them.
fn zones_of(plugin: Plugin) -> &'static [&'static str] {
    if [Plugin::AwsEbs, Plugin::GcePd, Plugin::AzureDisk].contains(&plugin) {
        &["zone", "zones"]
    } else {
        &[]
    }
}

/// Whether names are the same but for their case, or all of `alike` are there.
fn collide(pairs: &Value, alike: &[&str]) -> bool {
    let names: Vec<String> =
        pairs.as_object().into_iter().flat_map(|map| map.keys()).map(|name| name.to_lowercase()).collect();
    let different: BTreeSet<&String> = names.iter().collect();
    let all_alike = !alike.is_empty() && alike.iter().all(|name| names.iter().any(|known| known == name));
    different.len() < names.len() || all_alike || has_both(&names)
}

/// A name, and the one that it becomes or adds.
fn has_both(names: &[String]) -> bool {
    let has = |name: &str| names.iter().any(|known| known == name);
    [
        ("fstype", "csi.storage.k8s.io/fstype"),
        ("iopspergb", "allowautoiopspergbincrease"),
        ("openstorage.io/auth-secret-name", "csi.storage.k8s.io/node-publish-secret-name"),
    ]
    .iter()
    .any(|(first, second)| has(first) && has(second))
}

/// Whether upstream reads an id as a URL that no EBS volume has.
fn strange_id(volume: &Value, ours: Option<&Value>) -> Option<&'static str> {
    let id = volume["awsElasticBlockStore"]["volumeID"].as_str()?.strip_prefix("aws://")?;
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-._/".contains(letter);
    (ours.is_none() && !id.chars().all(is_plain)).then_some("an EBS id that is a URL of another kind")
}
