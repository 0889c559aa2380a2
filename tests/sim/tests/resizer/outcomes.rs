//! What each answer of the driver leads to (docs/upstream/resizer.md, "Outcomes" and "Slow retries").

use std::time::Duration;

use base::leadership::Leadership;
use serde_json::json;
use sim::{Reply, World};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::harness::{
    EXPANDED, FINISHED, MARKED, RESIZER, asking, calls, claim, conditions, config, events, left, request,
    world_with, writes,
};

#[tokio::test(start_paused = true)]
async fn each_code_leaves_its_state_and_condition() {
    for number in 1..=16 {
        let code = Code::from_i32(number);
        let refused = format!("expand id-of-pv to 2Gi {code:?}");
        let case = RESIZER.case("one answer", asking("2Gi"));
        let case = case.driver("ControllerExpandVolume", [Reply::error(code, "no")]);
        match code {
            Code::InvalidArgument | Code::OutOfRange | Code::NotFound => {
                let infeasible = "state ControllerResizeInfeasible +ControllerResizeError";
                let world = case.ends_with(&[&refused], &[MARKED, infeasible]).await;
                assert_eq!(conditions(&world), ["ControllerResizeError", "Resizing"], "{code:?}");
            }
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Unavailable
            | Code::ResourceExhausted
            | Code::Aborted => {
                case.ends_with(&[&refused, EXPANDED], &[MARKED, "volume 2Gi", FINISHED]).await;
            }
            _ => {
                let writes =
                    [MARKED, "+ControllerResizeError", "-ControllerResizeError", "volume 2Gi", FINISHED];
                case.ends_with(&[&refused, EXPANDED], &writes).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn error_that_is_not_final_removes_a_final_one() {
    let replies = [Reply::error(Code::Internal, "no"), Reply::error(Code::Aborted, "busy")];
    RESIZER
        .case("final, then open", asking("2Gi"))
        .driver("ControllerExpandVolume", replies)
        .ends_with(
            &["expand id-of-pv to 2Gi Internal", "expand id-of-pv to 2Gi Aborted", EXPANDED],
            &[MARKED, "+ControllerResizeError", "-ControllerResizeError", "volume 2Gi", FINISHED],
        )
        .await;
}

/// Seconds since the start at which the driver was called, within an hour.
async fn seconds(world: &World, start: Instant) -> Vec<u64> {
    sleep(Duration::from_secs(3600)).await;
    let calls = world.driver.calls();
    calls.iter().map(|call| call.at.duration_since(start).as_secs()).collect()
}

fn begun(objects: impl IntoIterator<Item = serde_json::Value>) -> (World, sim::Running) {
    let world = world_with(&["pv"]);
    objects.into_iter().for_each(|object| drop(world.api.put(object)));
    let running = RESIZER.run(&world, |config| config.resync = Duration::ZERO);
    (world, running)
}

#[tokio::test(start_paused = true)]
async fn infeasible_size_is_asked_for_once_an_interval() {
    let (world, _running) = begun(asking("5Gi"));
    world.driver.always("ControllerExpandVolume", Reply::error(Code::OutOfRange, "no"));
    let times = seconds(&world, Instant::now()).await;
    assert_eq!(times, (0..12).map(|number| number * 300).collect::<Vec<_>>());
    let said = [
        "state ControllerResizeInProgress -ControllerResizeError",
        "state ControllerResizeInfeasible +ControllerResizeError",
    ];
    assert_eq!(
        writes(&world)[1..],
        [&said[1..], &said.repeat(11)].concat(),
        "each call is open until it is answered"
    );
    assert_eq!(events(&world), ["Resizing", "VolumeResizeFailed x12"]);
}

#[tokio::test(start_paused = true)]
async fn other_size_is_asked_for_at_once() {
    for (size, name) in [("2Gi", "smaller"), ("6Gi", "larger")] {
        let (world, _running) = begun(asking("5Gi"));
        world.driver.script("ControllerExpandVolume", [Reply::error(Code::OutOfRange, "no")]);
        sleep(Duration::from_secs(20)).await;
        request(&world, size);
        sleep(Duration::from_secs(1)).await;
        let expected =
            ["expand id-of-pv to 5Gi OutOfRange".to_owned(), format!("expand id-of-pv to {size} Ok")];
        assert_eq!(calls(&world), expected, "{name}");
        assert_eq!(claim(&world)["status"]["capacity"]["storage"], size, "{name}");
        assert_eq!(conditions(&world), Vec::<String>::new(), "{name}");
        let marked = format!("allocated {size} state ControllerResizeInProgress -ControllerResizeError");
        assert_eq!(writes(&world)[2], marked, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn unrelated_change_does_not_end_the_slow_pause() {
    let (world, _running) = begun(asking("5Gi"));
    world.driver.always("ControllerExpandVolume", Reply::error(Code::OutOfRange, "no"));
    for number in 0..10 {
        sleep(Duration::from_secs(20)).await;
        world.api.edit("persistentvolumeclaims", "data", |claim| {
            claim["metadata"]["labels"] = json!({"a": number.to_string()});
            claim["status"]["allocatedResourceStatuses"]["example.com"] = json!(format!("State{number}"));
        });
        request(&world, if number % 2 == 0 { "5120Mi" } else { "5Gi" });
    }
    assert_eq!(calls(&world).len(), 1, "the same size, written in another way");
    let states = claim(&world)["status"]["allocatedResourceStatuses"].clone();
    assert_eq!(states, json!({"storage": "ControllerResizeInfeasible", "example.com": "State9"}));
}

#[tokio::test(start_paused = true)]
async fn failure_that_another_wrote_starts_nothing_early() {
    let (world, _running) = begun(asking("2Gi"));
    world.driver.always("ControllerExpandVolume", Reply::error(Code::Internal, "no"));
    let start = Instant::now();
    sleep(Duration::from_secs(100)).await;
    let before = calls(&world).len();
    world.api.edit("persistentvolumeclaims", "data", |claim| {
        claim["status"]["conditions"][1]["message"] = json!("another's");
    });
    sleep(Duration::from_secs(5)).await;
    assert_eq!(calls(&world).len(), before);
    let times = seconds(&world, start).await;
    assert_eq!(times[..8], [0, 1, 3, 7, 15, 31, 63, 127]);
}

#[tokio::test(start_paused = true)]
async fn call_that_may_be_under_way_is_repeated_within_half_a_minute() {
    let (world, _running) = begun(asking("2Gi"));
    world.driver.always("ControllerExpandVolume", Reply::error(Code::Aborted, "busy"));
    let times = seconds(&world, Instant::now()).await;
    assert_eq!(times[..8], [0, 1, 3, 7, 15, 31, 61, 91]);
}

/// In memory or in the status: a final error lets the user shrink the request, an open call does not.
#[tokio::test(start_paused = true)]
async fn smaller_size_waits_only_for_a_call_that_may_be_under_way() {
    for (code, restart, next) in [
        (Code::Internal, false, "2Gi"),
        (Code::Internal, true, "2Gi"),
        (Code::DeadlineExceeded, false, "5Gi"),
        (Code::DeadlineExceeded, true, "5Gi"),
    ] {
        let world = world_with(&["pv"]);
        asking("5Gi").into_iter().for_each(|object| drop(world.api.put(object)));
        world.driver.script("ControllerExpandVolume", [Reply::error(code, "no")]);
        let running = RESIZER.run(&world, |config| config.backoff.base = Duration::from_secs(100));
        sleep(Duration::from_secs(5)).await;
        let running = if restart {
            running.stop();
            None
        } else {
            Some(running)
        };
        request(&world, "2Gi");
        let again = restart.then(|| RESIZER.run(&world, |_| ()));
        sleep(Duration::from_secs(60)).await;
        let calls = calls(&world);
        assert_eq!(calls[1], format!("expand id-of-pv to {next} Ok"), "{code:?}, restart: {restart}");
        assert_eq!(calls.len(), 2, "{code:?}: {calls:?}");
        drop((running, again));
    }
}

#[tokio::test(start_paused = true)]
async fn restart_asks_once_more_for_what_was_infeasible() {
    let status = json!({
        "allocatedResources": {"storage": "2Gi"},
        "allocatedResourceStatuses": {"storage": "ControllerResizeInfeasible"},
        "conditions": [{"type": "Resizing", "status": "True"}, {"type": "ControllerResizeError", "status": "True"}],
    });
    RESIZER
        .case("the obstacle is gone", left("2Gi", status))
        .ends_with(
            &[EXPANDED],
            &["state ControllerResizeInProgress -ControllerResizeError", "volume 2Gi", FINISHED],
        )
        .await;
}

/// Otherwise the volume would have a size that the user is not charged for.
#[tokio::test(start_paused = true)]
async fn death_in_a_repeated_call_is_followed_by_that_call() {
    for code in [Code::Internal, Code::OutOfRange] {
        let world = world_with(&["pv"]);
        asking("5Gi").into_iter().for_each(|object| drop(world.api.put(object)));
        world.driver.script("ControllerExpandVolume", [Reply::error(code, "no"), Reply::LostReply]);
        let running = RESIZER.run(&world, |config| config.backoff.max = Duration::from_secs(3));
        sleep(Duration::from_secs(5)).await;
        running.stop();
        request(&world, "2Gi");
        let again = RESIZER.run(&world, |_| ());
        sleep(Duration::from_secs(60)).await;
        let refused = format!("expand id-of-pv to 5Gi {code:?}");
        assert_eq!(calls(&world)[0], refused);
        assert_eq!(calls(&world).last().map(String::as_str), Some("expand id-of-pv to 5Gi Ok"), "{code:?}");
        let status = &claim(&world)["status"];
        assert_eq!(
            (&status["capacity"]["storage"], &status["allocatedResources"]["storage"]),
            (&json!("5Gi"), &json!("5Gi")),
            "{code:?}"
        );
        drop(again);
    }
}

#[tokio::test(start_paused = true)]
async fn size_of_now_is_asked_for_once_the_former_is_refused() {
    let (world, _running) = begun(asking("5Gi"));
    let replies = [Reply::error(Code::DeadlineExceeded, "slow"), Reply::error(Code::OutOfRange, "no")];
    world.driver.script("ControllerExpandVolume", replies);
    sleep(Duration::from_millis(500)).await;
    request(&world, "2Gi");
    sleep(Duration::from_secs(20)).await;
    let expected =
        ["5Gi DeadlineExceeded", "5Gi OutOfRange", "2Gi Ok"].map(|call| format!("expand id-of-pv to {call}"));
    assert_eq!(calls(&world), expected);
    assert_eq!(claim(&world)["status"]["capacity"]["storage"], "2Gi");
}

/// The answer to a call is remembered whoever leads: nobody else has learnt of it.
#[tokio::test(start_paused = true)]
async fn call_that_ends_without_leadership_may_still_be_under_way() {
    let world = world_with(&["pv"]);
    asking("5Gi").into_iter().for_each(|object| drop(world.api.put(object)));
    let slow = Reply::error(Code::DeadlineExceeded, "slow").after(Duration::from_secs(5));
    world.driver.script("ControllerExpandVolume", [Reply::error(Code::Internal, "no"), slow]);
    let leadership = Leadership::candidate();
    let leads_for = |seconds| leadership.extend(Instant::now() + Duration::from_secs(seconds));
    leads_for(3);
    let leads = leadership.clone();
    let _running = world.run(Duration::from_secs(1), move |world| {
        RESIZER.live(world, config(), leads.clone(), CancellationToken::new())
    });
    sleep(Duration::from_secs(8)).await;
    assert_eq!(calls(&world).len(), 2);
    request(&world, "2Gi");
    leads_for(1000);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(calls(&world)[2], "expand id-of-pv to 5Gi Ok");
    assert_eq!(claim(&world)["status"]["allocatedResources"]["storage"], "5Gi");
}
