//! Growing (docs/upstream/resizer.md, "Which claims", "Calls" and "Outcomes").

use serde_json::{Value, json};
use sim::objects::secret;

use crate::harness::{RESIZER, asking, bound, calls, claim, conditions, events, request, volume, with, writes};

const MARKED: &str = "allocated 2Gi state ControllerResizeInProgress +Resizing";
const FINISHED: &str = "state null capacity 2Gi node done true -Resizing";
const EXPANDED: &str = "expand id-of-pv to 2Gi Ok";

#[tokio::test(start_paused = true)]
async fn growth_costs_one_call_and_three_writes() {
    let world = RESIZER
        .case("controller only", asking("2Gi"))
        .ends_with(&[EXPANDED], &[MARKED, "volume 2Gi", FINISHED])
        .await;
    let (claim, volume) = (claim(&world), volume(&world));
    assert_eq!(claim["status"]["capacity"]["storage"], "2Gi");
    assert_eq!(claim["status"]["allocatedResources"]["storage"], "2Gi", "stays, as in upstream");
    assert_eq!(claim["metadata"]["annotations"]["volume.kubernetes.io/node-expansion-not-required"], "true");
    assert_eq!(volume["spec"]["capacity"]["storage"], "2Gi");
    assert_eq!(volume["metadata"]["annotations"], Value::Null);
    assert_eq!(conditions(&world), Vec::<String>::new());
    assert_eq!(events(&world), ["Resizing", "VolumeResizeSuccessful"]);
    assert_eq!(world.driver.volumes()["id-of-pv"].capacity, 2 << 30);
}
