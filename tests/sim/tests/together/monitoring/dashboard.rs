//! The dashboard: each of its queries finds something on a page of our sidecars.

use std::time::Duration;

use serde_json::{Value, json};
use sim::objects::{attachment, bound, claim, class, csi_node, volume, with};
use sim::{Reply, World};
use tokio::time::sleep;
use tonic::Code;

use super::page::constant;
use super::process::{during, world};
use super::promtool::{ask, file, is_here};

/// A world with everything that the dashboard shows: waiting, failing and finished.
fn busy() -> World {
    let world = world();
    world.api.put(class());
    world.api.put(csi_node("node-1"));
    let ours =
        json!({"metadata": {"annotations": {"volume.kubernetes.io/storage-provisioner": "driver.example"}}});
    world.api.put(with(claim("made"), ours));
    let unavailable = || [Reply::error(Code::Unavailable, "not now")];
    world.driver.script("CreateVolume", unavailable());
    let released = json!({
        "metadata": {"annotations": {"pv.kubernetes.io/provisioned-by": "driver.example"}},
        "spec": {
            "persistentVolumeReclaimPolicy": "Delete", "storageClassName": "fast",
            "claimRef": {"namespace": "default", "name": "gone", "uid": "gone"},
        },
        "status": {"phase": "Released"},
    });
    world.api.put(with(volume("old"), released));
    world.driver.script("DeleteVolume", unavailable());
    // The only worker for attachments is busy with the first.
    world.driver.always("ControllerPublishVolume", Reply::Hang);
    for name in ["one", "two"] {
        for object in bound(name, &format!("pv-{name}")) {
            world.api.put(object);
        }
        world.api.put(attachment(name, &format!("pv-{name}"), "node-1"));
    }
    // Not readable.
    world.api.put(with(class(), json!({"metadata": {"name": "odd"}, "parameters": {"number": 5}})));
    world
}

/// The page of a process that has been busy for some seconds.
async fn scrape() -> String {
    let world = busy();
    let _binder = world.binder();
    during(&world, 1, async |metrics| {
        sleep(Duration::from_secs(8)).await;
        metrics.render()
    })
    .await
}

/// Every query of a dashboard, with Grafana's variables replaced.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let queries = targets.map(|target| target["expr"].as_str().expect("a query"));
    let queries: Vec<String> = queries
        .map(|query| {
            let variables = [("$namespace", ".*"), ("$job", ".*"), ("$__rate_interval", "5m")];
            variables.iter().fold(query.to_owned(), |query, (name, value)| query.replace(name, value))
        })
        .collect();
    // Either half of `or` could name nothing and not be missed.
    assert!(queries.iter().all(|query| !query.contains(" or ") && !query.contains('$')), "{queries:#?}");
    queries
}

/// Asks promtool whether each query finds something on the page.
fn find(page: &str, queries: &[String]) -> Result<(), String> {
    let each = |query: &String| (format!("count({query}) > bool 0"), 15, true);
    ask(&constant(page), &queries.iter().map(each).collect::<Vec<_>>())
}

#[tokio::test(start_paused = true)]
async fn each_query_finds_something_on_a_page() {
    let dashboard: Value = serde_json::from_str(&file("dashboard.json")).expect("JSON");
    let queries = queries(&dashboard);
    assert!(queries.len() > 20, "{queries:#?}");
    if is_here("promtool on the queries of the dashboard") {
        let said = find(&scrape().await, &queries);
        assert!(said.is_ok(), "{}", said.unwrap_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_query_of_an_unknown_family_is_found_out() {
    if is_here("promtool on a query that finds nothing") {
        let page = scrape().await;
        for wrong in ["sum(workqueue_dept)", "sum(rate(workqueue_depth{queue=\"claims\"}[5m]))"] {
            let said = find(&page, &["sum(workqueue_depth)".to_owned(), wrong.to_owned()]).unwrap_err();
            let complaints: Vec<&str> = said.lines().filter(|line| line.contains("expr:")).collect();
            assert!(
                complaints.len() == 1 && !complaints[0].contains("count(sum(workqueue_depth))"),
                "{said}"
            );
        }
    }
}

#[test]
fn panels_have_names_numbers_and_places_of_their_own() {
    let dashboard: Value = serde_json::from_str(&file("dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    for key in ["id", "title", "gridPos"] {
        let mut values: Vec<String> = panels.iter().map(|panel| panel[key].to_string()).collect();
        values.sort();
        values.dedup();
        assert_eq!(values.len(), panels.len(), "{key}");
    }
}
