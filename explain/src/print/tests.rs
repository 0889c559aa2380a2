use super::*;
use crate::finding::Who;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn answer() -> Answer {
    let first = Finding::new("SecretMissing", Who::Admin, "the class names Secret a/b", "Secret a/b")
        .since(Some(at("2026-11-30T11:57:00.123456Z")))
        .error(Some("not found".to_owned()))
        .run("kubectl -n a get secrets")
        .run("kubectl get storageclasses");
    let second = Finding::new("Provisioning", Who::Nobody, "the driver is at work", "its answer");
    Answer {
        kind: "PersistentVolumeClaim",
        namespace: "team".to_owned(),
        name: "data".to_owned(),
        state: "Pending".to_owned(),
        findings: vec![first, second],
        tries: vec![],
        unread: vec!["leases: a role needs RULE".to_owned()],
        again: None,
    }
}

#[test]
fn text_has_a_block_for_each_reason() {
    let expected = "\
PersistentVolumeClaim team/data is Pending

  happened:  the class names Secret a/b
  waits for: Secret a/b
  since:     2026-11-30T11:57:00Z (3m)
  who acts:  the administrator of the cluster
  error:     not found
  run:       kubectl -n a get secrets
  run:       kubectl get storageclasses

  happened:  the driver is at work
  waits for: its answer
  who acts:  nobody: it goes on by itself

not read: leases: a role needs RULE";
    assert_eq!(text(&answer(), at("2026-11-30T12:00:00.9Z")), expected);
}

#[test]
fn status_page_adds_the_next_try_and_the_error() {
    let each = Try {
        program: "csi-provisioner".to_owned(),
        operation: "provision".to_owned(),
        state: "waits for its next try".to_owned(),
        failures: 5,
        next: Some(at("2026-11-30T12:00:16Z")),
        error: Some("Provisioning failed: no space".to_owned()),
    };
    let answer = Answer { tries: vec![each], findings: vec![], unread: vec![], ..answer() };
    let expected = "\
PersistentVolumeClaim team/data is Pending

  csi-provisioner: provision: it waits for its next try, 5 failures in a row
  next try:  2026-11-30T12:00:16Z (in 16s)
  error:     Provisioning failed: no space";
    assert_eq!(text(&answer, at("2026-11-30T12:00:00Z")), expected);
    assert!(json(&answer).unwrap().contains("\"nextTry\": \"2026-11-30T12:00:16Z\""));
}

#[test]
fn object_that_is_ready_has_one_line() {
    let state = "Bound to PersistentVolume pv".to_owned();
    let answer = Answer { namespace: String::new(), state, findings: vec![], unread: vec![], ..answer() };
    let said = text(&answer, Timestamp::UNIX_EPOCH);
    assert_eq!(said, "PersistentVolumeClaim data is Bound to PersistentVolume pv");
    assert!(json(&answer).unwrap().contains("\"ready\": true"));
}

#[test]
fn ages_are_those_of_kubectl() {
    for (seconds, expected) in [
        (-5, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (7199, "119m"),
        (7200, "2h"),
        (172_799, "47h"),
        (172_800, "2d"),
    ] {
        assert_eq!(age(SignedDuration::from_secs(seconds)), expected, "{seconds}");
    }
}

#[test]
fn every_cause_is_in_the_documentation() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    let page = std::fs::read_to_string(format!("{root}../docs/explain.md")).unwrap();
    let mut causes = std::collections::BTreeSet::new();
    for file in std::fs::read_dir(format!("{root}src")).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let code = std::fs::read_to_string(&path).unwrap();
        // A cause stands before who must act.
        for before in code.split("Who::").filter_map(|before| before.trim_end().strip_suffix("\",")) {
            causes.extend(before.rsplit('"').next().map(str::to_owned));
        }
    }
    assert!(causes.len() > 70, "{causes:?}");
    for cause in causes {
        assert!(page.contains(&format!("`{cause}`")), "{cause} is not in docs/explain.md");
    }
}
