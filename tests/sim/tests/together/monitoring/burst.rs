//! A burst of 1,000 claims: whether the alerts, with their own limits, take it for a fault. The series are those of our own process,
//! scraped once a minute.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use sim::objects::{claim, class, with};
use sim::{Reply, World};
use tokio::time::sleep;
use tonic::Code;

use super::page::samples;
use super::process::{during, world};
use super::promtool::{ask, is_here};

const CLAIMS: usize = 1_000;
const MINUTES: usize = 45;

/// The pages of each minute after the burst, as promtool's input series, and the minute in which the last claim had its volume.
async fn scraped(world: &World) -> (Vec<(String, String)>, Option<usize>) {
    // Nobody binds the claims: a volume that is stored ends the work.
    world.api.put(class());
    let ours =
        json!({"metadata": {"annotations": {"volume.kubernetes.io/storage-provisioner": "driver.example"}}});
    let minute = Duration::from_secs(60);
    let (pages, done) = during(world, 10, async |metrics| {
        sleep(minute).await;
        for number in 0..CLAIMS {
            world.api.put(with(claim(&format!("data-{number}")), ours.clone()));
        }
        let (mut pages, mut done) = (Vec::new(), None);
        for minutes in 0..MINUTES {
            pages.push(samples(&metrics.render()));
            sleep(minute).await;
            if done.is_none() && world.api.count("persistentvolumes") == CLAIMS {
                done = Some(minutes);
            }
        }
        (pages, done)
    })
    .await;
    let mut series: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (minute, page) in pages.into_iter().enumerate() {
        for (name, value) in page {
            let values = series.entry(name).or_default();
            values.resize(minute, "_".to_owned());
            values.push(value.to_string());
        }
    }
    (series.into_iter().map(|(name, values)| (name, values.join(" "))).collect(), done)
}

/// Whether an alert with these labels fires in these minutes.
fn fires(labels: &str, minutes: impl Iterator<Item = usize>, does: bool) -> Vec<(String, usize, bool)> {
    let expression = format!("count(ALERTS{{alertstate=\"firing\"{labels}}}) > bool 0");
    minutes.map(|minute| (expression.clone(), minute, does)).collect()
}

#[tokio::test(start_paused = true)]
async fn burst_with_calls_of_five_seconds_raises_no_alert() {
    if is_here("promtool on a burst of claims") {
        let (world, call) = (world(), Duration::from_secs(5));
        world.driver.always("CreateVolume", Reply::Ok.after(call));
        // Some calls of a burst fail.
        let busy = || Reply::error(Code::Unavailable, "busy").after(call);
        world.driver.script("CreateVolume", std::iter::repeat_with(busy).take(50));
        let (series, done) = scraped(&world).await;
        assert!(done.is_some_and(|minute| (8..12).contains(&minute)), "{done:?}");
        assert_eq!(ask(&series, &fires("", 0..MINUTES, false)), Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn burst_on_a_driver_that_hangs_tells_of_its_errors() {
    if is_here("promtool on a burst at a driver that hangs") {
        let world = world();
        world.driver.always("CreateVolume", Reply::Hang);
        let (series, done) = scraped(&world).await;
        assert_eq!(done, None);
        let mut expected = fires("", 0..10, false);
        expected.extend(fires(",alertname=\"CSIDriverErrors\"", 20..MINUTES, true));
        expected.extend(fires(",alertname=\"CSISidecarClassFails\"", 35..MINUTES, true));
        assert_eq!(ask(&series, &expected), Ok(()));
    }
}
