use super::super::object::{Volume, VolumePhase, WireVolume};
use super::*;
use serde_json::json;

fn volume(name: &str, uid: &str, version: u64, phase: &str) -> WireVolume {
    serde_json::from_value(json!({
        "metadata": {"name": name, "uid": uid, "resourceVersion": version.to_string()},
        "spec": {"csi": {"driver": "d", "volumeHandle": "h"}},
        "status": {"phase": phase},
    }))
    .unwrap()
}

type Log = Arc<Mutex<Vec<String>>>;

/// The store, its writer, and a log of the changes that a subscriber sees.
fn store() -> (Arc<Store<Volume>>, Writer<Volume>, Log) {
    let scope = Scope { driver: "d".into(), ..Scope::default() };
    let (writer, store) = cache(Arc::new(scope));
    let log = Arc::new(Mutex::new(Vec::new()));
    let seen = log.clone();
    store.subscribe(move |change: &Change<Volume>| {
        seen.lock().unwrap().push(match change {
            Change::Added(new) => format!("+{}", new.meta.name()),
            Change::Updated { new, .. } => format!("~{}@{}", new.meta.name(), new.meta.version),
            Change::Removed(old) => format!("-{}", old.meta.name()),
            Change::Left(old) => format!("<{}", old.meta.name()),
        });
    });
    (store, writer, log)
}

#[test]
fn event_older_than_our_own_write_changes_nothing() {
    let (_, writer, log) = store();
    writer.apply(volume("a", "u", 5, "Bound"));
    writer.apply(volume("a", "u", 4, "Pending"));
    writer.apply(volume("a", "u", 5, "Bound"));
    assert_eq!(*log.lock().unwrap(), ["+a"]);
}

#[test]
fn object_recreated_under_the_same_name_replaces_the_old_one() {
    let (store, writer, log) = store();
    writer.apply(volume("a", "u", 5, "Bound"));
    writer.apply(volume("a", "v", 7, "Pending"));
    writer.remove(&Key::cluster("a"), &"u".into());
    assert_eq!(*log.lock().unwrap(), ["+a", "~a@7"]);
    assert_eq!(store.get(&Key::cluster("a")).unwrap().meta.uid, "v".into());
}

#[test]
fn late_event_does_not_bring_back_what_we_deleted() {
    let (store, writer, log) = store();
    writer.apply(volume("a", "u", 5, "Released"));
    store.deleted(&Key::cluster("a"), &"u".into());
    writer.apply(volume("a", "u", 6, "Released"));
    writer.remove(&Key::cluster("a"), &"u".into());
    writer.apply(volume("a", "v", 9, "Pending"));
    assert_eq!(*log.lock().unwrap(), ["+a", "-a", "+a"]);
}

#[test]
fn reply_of_a_write_does_not_bring_back_what_the_watch_saw_go() {
    let (store, writer, log) = store();
    writer.apply(volume("a", "u", 5, "Bound"));
    assert_eq!(store.overlay(volume("a", "u", 6, "Bound")), 6);
    writer.remove(&Key::cluster("a"), &"u".into());
    store.overlay(volume("a", "u", 7, "Bound"));
    assert_eq!(*log.lock().unwrap(), ["+a", "~a@6", "-a"]);
}

#[test]
fn creation_reply_after_deletion_event_stores_nothing() {
    let (store, writer, log) = store();
    let creation = store.creation(Key::cluster("a"));
    writer.apply(volume("a", "u", 5, "Pending"));
    writer.remove(&Key::cluster("a"), &"u".into());
    creation.done(volume("a", "u", 5, "Pending"));
    assert_eq!(*log.lock().unwrap(), ["+a", "-a"]);
}

#[test]
fn reply_of_a_creation_during_a_list_is_left_to_the_watch() {
    let (store, writer, log) = store();
    let before = store.creation(Key::cluster("a"));
    writer.list_begins();
    let during = store.creation(Key::cluster("b"));
    writer.list_ends();
    before.done(volume("a", "u", 5, "Pending"));
    during.done(volume("b", "v", 6, "Pending"));
    assert_eq!(*log.lock().unwrap(), [""; 0]);
}

#[test]
fn creation_reply_is_stored_and_its_event_changes_nothing() {
    let (store, writer, log) = store();
    let creation = store.creation(Key::cluster("a"));
    writer.remove(&Key::cluster("b"), &"w".into());
    creation.done(volume("a", "u", 5, "Pending"));
    writer.apply(volume("a", "u", 5, "Pending"));
    // One that failed leaves nothing behind.
    drop(store.creation(Key::cluster("c")));
    writer.remove(&Key::cluster("c"), &"x".into());
    store.creation(Key::cluster("c")).done(volume("c", "y", 9, "Pending"));
    assert_eq!(*log.lock().unwrap(), ["+a", "+c"]);
}

#[test]
fn relist_removes_what_it_does_not_name_and_keeps_the_rest() {
    let (_, writer, log) = store();
    writer.list_begins();
    writer.apply(volume("a", "u", 1, "Bound"));
    writer.apply(volume("b", "v", 2, "Bound"));
    writer.list_ends();
    writer.list_begins();
    writer.apply(volume("b", "v", 2, "Bound"));
    writer.list_ends();
    assert_eq!(*log.lock().unwrap(), ["+a", "+b", "-a"]);
}

/// etcd was restored: versions begin anew at an older one, and what was deleted is there again.
#[test]
fn list_replaces_newer_objects_and_brings_back_deleted_ones() {
    let (store, writer, log) = store();
    writer.apply(volume("a", "u", 50, "Released"));
    writer.apply(volume("b", "v", 51, "Released"));
    store.deleted(&Key::cluster("b"), &"v".into());
    writer.list_begins();
    writer.list_item(volume("a", "u", 7, "Bound"));
    writer.list_item(volume("b", "v", 8, "Bound"));
    writer.list_ends();
    writer.apply(volume("a", "u", 9, "Released"));
    assert_eq!(*log.lock().unwrap(), ["+a", "+b", "-b", "~a@7", "+b", "~a@9"]);
}

#[test]
fn list_does_not_undo_what_was_written_since_it_began() {
    let (store, writer, log) = store();
    writer.apply(volume("a", "u", 5, "Bound"));
    writer.apply(volume("b", "v", 6, "Bound"));
    writer.list_begins();
    store.overlay(volume("a", "u", 9, "Bound"));
    store.deleted(&Key::cluster("b"), &"v".into());
    writer.list_item(volume("a", "u", 5, "Bound"));
    writer.list_item(volume("b", "v", 6, "Bound"));
    writer.list_ends();
    assert_eq!(*log.lock().unwrap(), ["+a", "+b", "~a@9", "-b"]);
}

#[test]
fn change_is_told_as_those_see_it_who_care_for_some_objects() {
    let (store, writer, _) = store();
    let log = Arc::new(Mutex::new(Vec::new()));
    let seen = log.clone();
    store.subscribe(move |change: &Change<Volume>| {
        let change = change.of(|volume| volume.phase == VolumePhase::Bound);
        seen.lock().unwrap().push(match change {
            Some(Change::Added(_)) => "added",
            Some(Change::Updated { .. }) => "updated",
            Some(Change::Left(_)) => "left",
            Some(Change::Removed(_)) => "removed",
            None => "nothing",
        });
    });
    for (version, phase) in [(1, "Pending"), (2, "Bound"), (3, "Bound"), (4, "Released"), (5, "Bound")] {
        writer.apply(volume("a", "u", version, phase));
    }
    writer.remove(&Key::cluster("a"), &"u".into());
    assert_eq!(*log.lock().unwrap(), ["nothing", "added", "updated", "left", "added", "removed"]);
}

#[test]
fn foreign_object_is_not_kept() {
    let (store, writer, log) = store();
    let mut foreign = volume("a", "u", 1, "Bound");
    foreign = serde_json::from_value(json!({
        "metadata": {"name": foreign.name_any(), "uid": "u", "resourceVersion": "2"},
        "spec": {"csi": {"driver": "other", "volumeHandle": "h"}},
    }))
    .unwrap();
    writer.apply(foreign);
    assert!(store.is_empty() && log.lock().unwrap().is_empty());
}

#[tokio::test]
async fn is_synced_only_after_the_first_list() {
    let (store, writer, _) = store();
    assert!(futures::FutureExt::now_or_never(store.synced()).is_none());
    writer.list_begins();
    writer.list_ends();
    store.synced().await;
}

/// Our patch is answered, then somebody else deletes the object, then the list is taken.
#[test]
fn reply_during_a_list_does_not_stand_for_being_in_it() {
    let (store, writer, log) = store();
    writer.apply(volume("a", "u", 5, "Bound"));
    writer.list_begins();
    store.overlay(volume("a", "u", 6, "Bound"));
    writer.list_ends();
    assert_eq!(*log.lock().unwrap(), ["+a", "~a@6", "-a"]);
}

#[test]
fn object_deleted_during_a_list_stays_deleted_after_it() {
    let (store, writer, log) = store();
    writer.apply(volume("a", "u", 5, "Released"));
    writer.list_begins();
    writer.apply(volume("a", "u", 5, "Released"));
    store.deleted(&Key::cluster("a"), &"u".into());
    writer.list_ends();
    // The watch goes on from the list's version.
    writer.apply(volume("a", "u", 6, "Released"));
    writer.remove(&Key::cluster("a"), &"u".into());
    assert_eq!(*log.lock().unwrap(), ["+a", "-a"]);
    assert!(store.state().gone.is_empty());
}

#[test]
fn a_store_counts_its_objects() {
    let (store, writer, _) = store();
    assert!(store.is_empty());
    for (index, name) in ["a", "b", "c"].into_iter().enumerate() {
        writer.apply(volume(name, name, 5, "Released"));
        assert_eq!(store.len(), index + 1);
    }
    assert!(!store.is_empty());
}

#[test]
fn what_was_deleted_before_a_list_is_forgotten_with_it() {
    let (store, writer, _) = store();
    writer.apply(volume("a", "u", 5, "Released"));
    store.deleted(&Key::cluster("a"), &"u".into());
    assert_eq!(store.state().gone.len(), 1);
    writer.list_begins();
    writer.list_ends();
    assert!(store.state().gone.is_empty());
}

#[test]
fn older_event_of_a_predecessor_changes_nothing() {
    let (store, writer, log) = store();
    store.creation(Key::cluster("a")).done(volume("a", "v", 9, "Pending"));
    writer.apply(volume("a", "u", 5, "Bound"));
    assert_eq!(*log.lock().unwrap(), ["+a"]);
}

#[test]
fn deletion_of_a_predecessor_is_not_kept_in_mind() {
    let (store, writer, log) = store();
    writer.apply(volume("a", "u", 5, "Released"));
    writer.apply(volume("a", "v", 7, "Pending"));
    store.deleted(&Key::cluster("a"), &"u".into());
    assert!(store.state().gone.is_empty());
    assert_eq!(*log.lock().unwrap(), ["+a", "~a@7"]);
}
