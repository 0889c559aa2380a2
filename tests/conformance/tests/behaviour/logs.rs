//! What the driver's log tells of its calls.

use std::path::Path;

use conformance::request::{self, MIB};
use csi::{Client, v1};
use serde_json::{Value, json};

use super::{DEADLINE, published, unpublished, volume};

const DELETE: &str = "/csi.v1.Controller/DeleteVolume";

fn lines(folder: &Path) -> Vec<String> {
    let log = std::fs::read_to_string(folder.join("driver.log")).unwrap();
    log.lines().map(str::to_owned).collect()
}

/// Deletes a volume that is in use, which the driver warns about, with a secret.
async fn delete_with_a_secret(client: &Client, folder: &Path) -> String {
    let id = volume(client, request::create("v", false, MIB)).await.volume_id;
    published(client, &id, &folder.join("target"), false, false).await.unwrap();
    let secrets = [("user".to_owned(), "hush".to_owned()), ("password".to_owned(), "hush".to_owned())];
    let delete = v1::DeleteVolumeRequest { secrets: secrets.into(), ..request::delete(&id) };
    client.call(delete, DEADLINE).await.unwrap();
    client.call(request::unpublish(&id, "/nowhere"), DEADLINE).await.unwrap_err();
    id
}

/// The objects behind `gRPCCall:` in the texts, as the Kubernetes end-to-end tests read them.
fn calls<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<Value> {
    let objects = texts.filter_map(|text| text.split_once("gRPCCall:"));
    objects.map(|(_, object)| serde_json::from_str(object).unwrap()).collect()
}

/// A call that succeeded and one that failed, with all that is read of them.
fn check_calls(calls: &[Value], id: &str) {
    let of = |method: &str| calls.iter().find(|call| call["Method"] == method).unwrap();
    let secrets = json!({"password": "***stripped***", "user": "***stripped***"});
    assert_eq!(
        *of(DELETE),
        json!({
            "Method": DELETE,
            "Request": {"volume_id": id, "secrets": secrets},
            "Response": {},
            "Error": "",
            "FullError": null,
        })
    );
    let failed = of("/csi.v1.Node/NodeUnpublishVolume");
    assert_eq!((&failed["FullError"]["code"], &failed["Response"]), (&json!(5), &Value::Null));
    assert_eq!(failed["Request"], json!({"volume_id": id, "target_path": "/nowhere"}));
}

with_driver!(a_call_is_logged_before_it_is_done_and_as_json_after, ["-v=5"], |folder, driver| {
    let id = delete_with_a_secret(driver.client(), folder).await;
    let lines = lines(folder);
    assert!(!lines.iter().any(|line| line.contains("hush")), "a secret is in the log");
    // Each line has its header, the one for the end-to-end tests too.
    assert!(
        lines.iter().all(|line| line.starts_with(['I', 'W', 'E']) && line.contains(".rs:")),
        "{lines:#?}"
    );
    check_calls(&calls(lines.iter().map(String::as_str)), &id);
    let at = |text: &str| lines.iter().position(|line| line.contains(text) && line.contains(&id)).unwrap();
    let request = at(r#""GRPC request" method="/csi.v1.Controller/DeleteVolume""#);
    let work = at("is still in use and cannot be deleted");
    let end = at("gRPCCall: {\"Method\":\"/csi.v1.Controller/DeleteVolume\"");
    assert!(request < work && work < end, "{request} {work} {end}");
    let asked = lines.iter().filter(|line| line.contains("GRPC request") && line.contains(DELETE));
    assert_eq!(asked.count(), 1, "each request once");
});

with_driver!(a_json_log_is_json_line_by_line, ["-v=5", "--logging-format=json"], |folder, driver| {
    let id = delete_with_a_secret(driver.client(), folder).await;
    let lines = lines(folder);
    assert!(!lines.iter().any(|line| line.contains("hush")), "a secret is in the log");
    let objects: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    check_calls(&calls(objects.iter().map(|object| object["msg"].as_str().unwrap())), &id);
});

with_driver!(below_level_5_requests_are_not_logged, ["-v=4"], |folder, driver| {
    let client = driver.client();
    let id = volume(client, request::create("v", false, MIB)).await.volume_id;
    published(client, &id, &folder.join("target"), false, false).await.unwrap();
    unpublished(client, &id, &folder.join("target")).await;
    let lines = lines(folder);
    assert!(
        lines.iter().any(|line| line.contains(r#""GRPC call" method="/csi.v1.Controller/CreateVolume""#))
    );
    assert!(
        !lines.iter().any(|line| line.contains("GRPC request") || line.contains("gRPCCall")),
        "{lines:#?}"
    );
});
