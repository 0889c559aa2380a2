//! What is written is read again.

use super::super::terms::{self, terms_key, terms_name};
use super::*;
use crate::claim::object::new_volume;
use crate::claim::request::{Found, fills_from, named, prepare};
use crate::fixture::{claim_from, class, config, scope};
use crate::topology::Known;

fn sent(spec: Value, parameters: &[(&str, &str)]) -> Sent {
    let claim = claim_from(json!({SELECTED_NODE: "node1"}), spec);
    let mut class = class();
    class.parameters =
        parameters.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let prepared =
        prepare(&config(), &claim, &class, "pvc-1".into(), &Known::default(), &Found::default()).unwrap();
    Sent { claim: claim.into(), class: class.into(), prepared: prepared.into(), is_adopted: false }
}

/// Written and read again.
fn again(sent: &Sent) -> Sent {
    let (text, listed) = to_text(sent, |terms| Listed::of(terms)).unwrap();
    let terms = listed.as_ref().map(|listed| terms::from_text(&listed.text).unwrap());
    assert_eq!(named_terms(&text), listed.map(|listed| listed.name.to_string()));
    from_text(&text, terms.as_ref(), &scope()).unwrap()
}

fn placed(hosts: usize, first: usize) -> Sent {
    let mut before = sent(json!({}), &[]);
    let terms = (0..hosts).map(|number| Term::new([("host", number.to_string())]));
    Arc::make_mut(&mut before.prepared).placement = Placement::of(terms.collect(), first);
    before
}

#[test]
fn terms_come_back_whether_they_are_few_or_many() {
    for (hosts, first) in [(1, 0), (3, 2), (4, 1), (5, 0), (5, 4), (1000, 777)] {
        let before = placed(hosts, first);
        let after = again(&before);
        assert_eq!(after.prepared.whole(), before.prepared.whole(), "{hosts}");
        assert_eq!(after.prepared.placement, before.prepared.placement, "{hosts}");
    }
}

#[test]
fn text_of_an_earlier_version_is_read_and_written_anew() {
    let before = placed(1000, 3);
    let (old, listed) = to_text(&before, |_| None).unwrap();
    assert_eq!((listed, named_terms(&old)), (None, None), "as earlier versions wrote it");
    let read = from_text(&old, None, &scope()).unwrap();
    assert_eq!(read.prepared.whole(), before.prepared.whole());
    assert_eq!(again(&read).prepared.whole(), before.prepared.whole());
    assert!(to_text(&read, |terms| Listed::of(terms)).unwrap().0.len() < old.len() / 10);
}

#[test]
fn request_that_lacks_its_terms_is_refused() {
    let (text, _) = to_text(&placed(10, 9), |terms| Listed::of(terms)).unwrap();
    let few: Arc<[Term]> = [Term::default()].into();
    for terms in [None, Some(&few)] {
        assert!(matches!(from_text(&text, terms, &scope()), Err(EntryError::Terms)));
    }
}

#[test]
fn request_and_object_come_back_as_they_were() {
    let secret = [
        ("csi.storage.k8s.io/provisioner-secret-name", "a"),
        ("csi.storage.k8s.io/provisioner-secret-namespace", "b"),
        ("csi.storage.k8s.io/node-stage-secret-name", "c"),
        ("csi.storage.k8s.io/node-stage-secret-namespace", "d"),
        ("csi.storage.k8s.io/fstype", "xfs"),
        ("kind", "fast"),
    ];
    for (spec, parameters) in [
        (json!({}), &[][..]),
        (json!({"volumeMode": "Block", "accessModes": ["ReadWriteMany", "ReadOnlyMany"]}), &secret[4..]),
        (json!({"volumeMode": "Filesystem"}), &secret),
    ] {
        let before = sent(spec, parameters);
        let after = again(&before);
        assert_eq!(after.prepared.whole(), before.prepared.whole());
        let object = |sent: &Sent| {
            let made = csi::v1::Volume { volume_id: "id".into(), ..Default::default() };
            new_volume(&config(), &sent.claim, &sent.class, &sent.prepared, &made, 7)
        };
        assert_eq!(object(&after), object(&before));
        let facts = |sent: &Sent| {
            let node = sent.claim.meta.annotations.get(SELECTED_NODE).map(str::to_owned);
            let source = sent.claim.data_source_ref.as_ref();
            let source =
                source.map(|source| (source.kind.clone(), source.name.clone(), source.namespace.clone()));
            (
                sent.claim.meta.key.clone(),
                sent.claim.meta.uid.clone(),
                sent.class.meta.uid.clone(),
                node,
                source,
            )
        };
        assert_eq!(facts(&after), facts(&before));
    }
}

#[test]
fn source_in_another_namespace_comes_back() {
    let elsewhere = json!({"kind": "PersistentVolumeClaim", "name": "source", "namespace": "theirs"});
    let mut before = sent(json!({}), &[]);
    before.claim = claim_from(json!({}), json!({"dataSourceRef": elsewhere})).into();
    let after = again(&before);
    let source = after.claim.data_source_ref.as_ref().unwrap();
    assert_eq!((&*source.name, source.namespace.as_deref()), ("source", Some("theirs")));
}

#[test]
fn source_in_the_claim_s_namespace_comes_back() {
    let source = json!({"kind": "VolumeSnapshot", "name": "snap", "apiGroup": "snapshot.storage.k8s.io"});
    let mut before = sent(json!({}), &[]);
    before.claim = claim_from(json!({}), json!({"dataSource": source})).into();
    let after = again(&before);
    let asked = named(&before.claim).unwrap().unwrap();
    assert!(fills_from(&after.claim, &asked), "{:?}", after.claim.data_source);
    assert_eq!(after.claim.data_source, before.claim.data_source);
}

#[test]
fn name_of_an_annotation_is_one_that_the_api_server_takes() {
    let uid = Uid::from("8d2a5c1e-3f4b-4f6a-9c1d-000000000001");
    let key = key(&uid, &uid);
    assert!(is_key(&key) && key.starts_with(&key_prefix(&uid)));
    let listed = Listed::of(&vec![Term::default(); 9]).unwrap();
    let list = terms_key(&listed.name);
    assert!(is_key(&list) && terms_name(&list) == Some(&listed.name) && terms_name(&key).is_none());
    for key in [key, list] {
        assert!(key.rsplit('/').next().is_some_and(|name| name.len() <= 63), "{key}");
    }
}

#[test]
fn text_of_something_else_is_refused() {
    for text in ["", "{}", r#"{"claim": {}, "class": {}, "name": "n", "request": "AA==", "bytes": 1}"#] {
        assert!(from_text(text, None, &scope()).is_err(), "{text}");
    }
}
