//! The API server says in a dry run that it would take a volume's new form, and does not take it then.

use std::time::Duration;

use serde_json::json;
use sim::Fault;

use crate::refused::{Condition, Wrong, hindered, hindered_at, third};
use crate::site::{Site, VOLUMES};

/// The new form of `data`, whichever that is, when it is really to be created.
const NEW_FORM: [Condition; 2] = [
    |method, path, body| method == "POST" && path.ends_with("volumes") && body.contains("\"csi\":"),
    |method, path, body| method == "POST" && path.ends_with("volumes") && body.contains("\"cinder\":"),
];

/// The API server would take the new volume, and does not take it then. Also when the process dies at any moment of that.
#[tokio::test(start_paused = true)]
async fn a_volume_whose_new_form_is_refused_is_as_it_was() {
    let both = || [false, true].into_iter().zip(NEW_FORM);
    for ((back, condition), policy) in both().flat_map(|one| ["Delete", "Retain"].map(|policy| (one, policy)))
    {
        for at in 0.. {
            let site = Site::new().await;
            site.world.api.edit(VOLUMES, "data", |volume| {
                volume["spec"]["persistentVolumeReclaimPolicy"] = json!(policy);
            });
            site.rest().await;
            let before = site.parts();
            if back {
                assert!(site.run_alone(false).await.is_complete());
            }
            let (started, begun) = (site.parts(), site.world.steps.count());
            let refusing = || hindered(&site, condition, Wrong::Refused(422));
            if at > 0 {
                site.world.steps.plan(begun + at, Fault::CrashAfter);
                let dies = refusing();
                let _ = tokio::time::timeout(Duration::from_secs(200), site.run(&dies, back)).await;
            }
            let requests = site.world.steps.count() - begun;
            let told = {
                let again = site.world.api.client("again");
                site.run(&hindered_at(again, condition, Wrong::Refused(422)), back).await
            };
            let at_once = format!("{back} {policy} {at}: {told}");
            assert!(!told.is_complete() && told.half_done.is_empty() && told.done == 0, "{at_once}");
            if at == 0 {
                assert!(told.to_string().contains("it is created again as it was"), "{at_once}");
            }
            assert!(!told.to_string().contains("somebody else"), "{at_once}");
            assert_eq!(site.parts(), started, "{at_once}");
            site.no_policy_is_left(&at_once);
            assert!(site.run(&site.world.api.client("last"), true).await.half_done.is_empty(), "{at_once}");
            assert_eq!(site.parts(), before, "{at_once}");
            if at > 0 && requests < at {
                break;
            }
        }
    }
}

/// It is worth a second try with another volume, and no more.
#[tokio::test(start_paused = true)]
async fn two_volumes_whose_new_form_is_refused_break_the_run_off() {
    for (back, condition) in [false, true].into_iter().zip(NEW_FORM) {
        let site = Site::new().await;
        third(&site).await;
        if back {
            assert!(site.run_alone(false).await.is_complete());
        }
        let started = site.parts();
        let told = site.run(&hindered(&site, condition, Wrong::Refused(422)), back).await;
        let names: Vec<&str> = told.failed.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["data", "free"], "{back}: {told}");
        let why = told.broken_off.as_deref().unwrap_or_default();
        assert!(why.starts_with("the API server refuses the new objects"), "{back}: {told}");
        assert_eq!(site.parts(), started, "{back}: {told}");
        site.no_policy_is_left("");
    }
}

/// A conversion died with `data` away. Whoever undoes it has what is wanted when the old form is there again.
#[tokio::test(start_paused = true)]
async fn undo_goes_on_behind_a_volume_that_is_as_it_was_again() {
    let site = Site::new().await;
    let before = site.parts();
    let mut options = site.options();
    options.only = Some("free".to_owned());
    assert!(site.run_with(&site.world.client(), &options, false).await.unwrap().is_complete());
    site.world.steps.on(|step| step.is("delete", VOLUMES), 1, Fault::CrashAfter);
    assert!(tokio::time::timeout(Duration::from_secs(60), site.run_alone(false)).await.is_err(), "it died");
    let again = site.world.api.client("again");
    let told = site.run(&hindered_at(again, NEW_FORM[0], Wrong::Refused(422)), true).await;
    assert!(told.is_complete() && told.done == 1, "{told}");
    assert_eq!(site.parts(), before, "{told}");
    site.no_policy_is_left("");
}
