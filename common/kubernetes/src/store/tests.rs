use super::super::object::{Volume, WireVolume};
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

fn store() -> (Arc<Store<Volume>>, Arc<Mutex<Vec<String>>>) {
    let scope = Scope { driver: "d".into(), ..Scope::default() };
    let (store, log) = (Store::new(Arc::new(scope)), Arc::new(Mutex::new(Vec::new())));
    let seen = log.clone();
    store.subscribe(move |change: &Change<Volume>| {
        seen.lock().unwrap().push(match change {
            Change::Added(new) => format!("+{}", new.meta.name()),
            Change::Updated { new, .. } => format!("~{}@{}", new.meta.name(), new.meta.version),
            Change::Removed(old) => format!("-{}", old.meta.name()),
            Change::Left(old) => format!("<{}", old.meta.name()),
        });
    });
    (store, log)
}

#[test]
fn event_older_than_our_own_write_changes_nothing() {
    let (store, log) = store();
    store.apply(volume("a", "u", 5, "Bound"));
    store.apply(volume("a", "u", 4, "Pending"));
    store.apply(volume("a", "u", 5, "Bound"));
    assert_eq!(*log.lock().unwrap(), ["+a"]);
}

#[test]
fn object_recreated_under_the_same_name_replaces_the_old_one() {
    let (store, log) = store();
    store.apply(volume("a", "u", 5, "Bound"));
    store.apply(volume("a", "v", 7, "Pending"));
    store.remove(&Key::cluster("a"), &"u".into());
    assert_eq!(*log.lock().unwrap(), ["+a", "~a@7"]);
    assert_eq!(store.get(&Key::cluster("a")).unwrap().meta.uid, "v".into());
}

#[test]
fn late_event_does_not_bring_back_what_we_deleted() {
    let (store, log) = store();
    store.apply(volume("a", "u", 5, "Released"));
    store.deleted(&Key::cluster("a"), &"u".into());
    store.apply(volume("a", "u", 6, "Released"));
    store.remove(&Key::cluster("a"), &"u".into());
    store.apply(volume("a", "v", 9, "Pending"));
    assert_eq!(*log.lock().unwrap(), ["+a", "-a", "+a"]);
}

#[test]
fn reply_of_a_write_does_not_bring_back_what_the_watch_saw_go() {
    let (store, log) = store();
    store.apply(volume("a", "u", 5, "Bound"));
    assert_eq!(store.overlay(volume("a", "u", 6, "Bound")), 6);
    store.remove(&Key::cluster("a"), &"u".into());
    store.overlay(volume("a", "u", 7, "Bound"));
    assert_eq!(*log.lock().unwrap(), ["+a", "~a@6", "-a"]);
}

#[test]
fn reply_of_a_creation_does_not_bring_back_what_the_watch_saw_come_and_go() {
    let (store, log) = store();
    let creation = store.creation(Key::cluster("a"));
    store.apply(volume("a", "u", 5, "Pending"));
    store.remove(&Key::cluster("a"), &"u".into());
    creation.done(volume("a", "u", 5, "Pending"));
    assert_eq!(*log.lock().unwrap(), ["+a", "-a"]);
}

#[test]
fn reply_of_a_creation_during_a_list_is_left_to_the_watch() {
    let (store, log) = store();
    let before = store.creation(Key::cluster("a"));
    store.list_begins();
    let during = store.creation(Key::cluster("b"));
    store.list_ends();
    before.done(volume("a", "u", 5, "Pending"));
    during.done(volume("b", "v", 6, "Pending"));
    assert_eq!(*log.lock().unwrap(), [""; 0]);
}

#[test]
fn reply_of_a_creation_is_stored_before_the_watch_tells_and_its_own_event_changes_nothing() {
    let (store, log) = store();
    let creation = store.creation(Key::cluster("a"));
    store.remove(&Key::cluster("b"), &"w".into());
    creation.done(volume("a", "u", 5, "Pending"));
    store.apply(volume("a", "u", 5, "Pending"));
    // One that failed leaves nothing behind.
    drop(store.creation(Key::cluster("c")));
    store.remove(&Key::cluster("c"), &"x".into());
    store.creation(Key::cluster("c")).done(volume("c", "y", 9, "Pending"));
    assert_eq!(*log.lock().unwrap(), ["+a", "+c"]);
}

#[test]
fn relist_removes_what_it_does_not_name_and_keeps_the_rest() {
    let (store, log) = store();
    store.list_begins();
    store.apply(volume("a", "u", 1, "Bound"));
    store.apply(volume("b", "v", 2, "Bound"));
    store.list_ends();
    store.list_begins();
    store.apply(volume("b", "v", 2, "Bound"));
    store.list_ends();
    assert_eq!(*log.lock().unwrap(), ["+a", "+b", "-a"]);
}

#[test]
fn foreign_object_is_not_kept() {
    let (store, log) = store();
    let mut foreign = volume("a", "u", 1, "Bound");
    foreign = serde_json::from_value(json!({
        "metadata": {"name": foreign.name_any(), "uid": "u", "resourceVersion": "2"},
        "spec": {"csi": {"driver": "other", "volumeHandle": "h"}},
    }))
    .unwrap();
    store.apply(foreign);
    assert!(store.is_empty() && log.lock().unwrap().is_empty());
}

#[tokio::test]
async fn is_synced_only_after_the_first_list() {
    let (store, _) = store();
    assert!(futures::FutureExt::now_or_never(store.synced()).is_none());
    store.list_begins();
    store.list_ends();
    store.synced().await;
}

/// Our patch is answered, then somebody else deletes the object, then the list is taken.
#[test]
fn reply_during_a_list_does_not_stand_for_being_in_it() {
    let (store, log) = store();
    store.apply(volume("a", "u", 5, "Bound"));
    store.list_begins();
    store.overlay(volume("a", "u", 6, "Bound"));
    store.list_ends();
    assert_eq!(*log.lock().unwrap(), ["+a", "~a@6", "-a"]);
}

#[test]
fn what_we_deleted_during_a_list_stays_deleted_when_the_list_ends() {
    let (store, log) = store();
    store.apply(volume("a", "u", 5, "Released"));
    store.list_begins();
    store.apply(volume("a", "u", 5, "Released"));
    store.deleted(&Key::cluster("a"), &"u".into());
    store.list_ends();
    // The watch goes on from the list's version.
    store.apply(volume("a", "u", 6, "Released"));
    store.remove(&Key::cluster("a"), &"u".into());
    assert_eq!(*log.lock().unwrap(), ["+a", "-a"]);
    assert!(store.state().gone.is_empty());
}

#[test]
fn what_was_deleted_before_a_list_is_forgotten_with_it() {
    let (store, _) = store();
    store.apply(volume("a", "u", 5, "Released"));
    store.deleted(&Key::cluster("a"), &"u".into());
    assert_eq!(store.state().gone.len(), 1);
    store.list_begins();
    store.list_ends();
    assert!(store.state().gone.is_empty());
}

#[test]
fn older_event_of_a_predecessor_changes_nothing() {
    let (store, log) = store();
    store.creation(Key::cluster("a")).done(volume("a", "v", 9, "Pending"));
    store.apply(volume("a", "u", 5, "Bound"));
    assert_eq!(*log.lock().unwrap(), ["+a"]);
}

#[test]
fn deletion_of_a_predecessor_is_not_kept_in_mind() {
    let (store, log) = store();
    store.apply(volume("a", "u", 5, "Released"));
    store.apply(volume("a", "v", 7, "Pending"));
    store.deleted(&Key::cluster("a"), &"u".into());
    assert!(store.state().gone.is_empty());
    assert_eq!(*log.lock().unwrap(), ["+a", "~a@7"]);
}
