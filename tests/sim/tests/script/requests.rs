//! Volumes, claims, classes and attachments, from creation to deletion.

use serde_json::{Value, json};

use super::Exchange;
use super::objects::*;
use super::others::{more, others};

/// Everything, in order; later parts build on what earlier ones made.
pub(crate) fn exchanges() -> Vec<Exchange> {
    let mut all = Vec::new();
    all.extend(creation());
    all.extend(updates());
    all.extend(patches());
    all.extend(statuses());
    all.extend(lists());
    all.extend(watches());
    all.extend(deletions());
    all.extend(others());
    all.extend(more());
    all
}

fn creation() -> Vec<Exchange> {
    vec![
        get(PVS).keep("start", "/metadata/resourceVersion"),
        post(PVS, volume("one")).keep("rv", "/metadata/resourceVersion"),
        get(&format!("{PVS}/one")),
        post(PVS, volume("one")),
        post(PVS, volume("Not_A_Name")),
        post(PVS, json!({ "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {} })),
        post(
            PVS,
            json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "x" } }),
        ),
        post(PVS, {
            let mut body = volume("with-status");
            body["status"] = json!({ "phase": "Bound" });
            body["metadata"]["finalizers"] = json!(["a.example/mine"]);
            body["metadata"]["deletionTimestamp"] = json!("2020-01-01T00:00:00Z");
            body
        }),
        post(PVS, {
            let mut body = volume("with-version");
            body["metadata"]["resourceVersion"] = json!("5");
            body
        }),
        post(PVS, {
            let mut body = volume("some");
            body["metadata"] = json!({ "generateName": "some-" });
            body
        })
        .keep("generated", "/metadata/name"),
        delete(&format!("{PVS}/$generated")),
        post(PVCS, claim("data")),
        post(&PVCS.replace("default", "nowhere"), claim("data")),
        post(PVCS, {
            let mut body = claim("elsewhere");
            body["metadata"]["namespace"] = json!("kube-system");
            body
        }),
        post(&format!("{PVS}?dryRun=All"), volume("dry")),
        get(&format!("{PVS}/dry")),
        get(&format!("{PVS}/none")),
        get("/apis/storage.k8s.io/v1/nonsense"),
        post(
            CLASSES,
            json!({
                "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": "fast" },
                "provisioner": "d.example", "parameters": { "a": "b" },
            }),
        ),
        post(VAS, attachment("va")),
        post(VAS, {
            let mut body = attachment("va-with-status");
            body["status"] = json!({ "attached": true });
            body
        }),
        post(
            VAS,
            json!({ "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": { "name": "bad" }, "spec": {} }),
        ),
    ]
}

fn updates() -> Vec<Exchange> {
    let changed = |version: &str| {
        let mut body = volume("one");
        body["metadata"]["labels"]["group"] = json!(version);
        body["metadata"]["finalizers"] = json!(["kubernetes.io/pv-protection"]);
        body["spec"]["persistentVolumeReclaimPolicy"] = json!("Delete");
        body["spec"]["volumeMode"] = json!("Filesystem");
        body
    };
    let with = |mut body: Value, field: &str, value: &str| {
        body["metadata"][field] = json!(value);
        body
    };
    let one = format!("{PVS}/one");
    vec![
        put(&one, with(changed("b"), "resourceVersion", "$rv")).keep("rv2", "/metadata/resourceVersion"),
        put(&one, with(changed("c"), "resourceVersion", "$rv")),
        put(&one, with(changed("b"), "resourceVersion", "$rv2")),
        put(&one, changed("d")).keep("uid", "/metadata/uid"),
        put(&one, with(changed("e"), "uid", "00000000-0000-4000-8000-000000000000")),
        put(&one, with(changed("e"), "uid", "$uid")),
        put(&one, {
            let mut body = changed("e");
            body["spec"]["csi"]["volumeHandle"] = json!("other");
            body
        }),
        put(&one, {
            let mut body = changed("e");
            body["status"] = json!({ "phase": "Bound" });
            body
        }),
        put(&format!("{PVS}/two"), changed("e")),
        put(&format!("{PVS}/none"), volume("none")),
        put(&format!("{VAS}/va"), attachment("va")),
        get(&format!("{VAS}/va")).keep("va", "/metadata/resourceVersion"),
        put(&format!("{VAS}/va"), {
            let mut body = with(attachment("va"), "resourceVersion", "$va");
            body["spec"]["nodeName"] = json!("n2");
            body
        }),
        put(
            &format!("{CLASSES}/fast"),
            json!({
                "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": "fast" },
                "provisioner": "d.example", "parameters": { "a": "c" },
            }),
        ),
        put(&format!("{PVCS}/data"), {
            let mut body = claim("data");
            body["spec"]["accessModes"] = json!(["ReadWriteMany"]);
            body
        }),
        put(&format!("{PVCS}/data"), {
            let mut body = claim("data");
            body["metadata"]["annotations"] = json!({ "volume.kubernetes.io/selected-node": "n1" });
            body["metadata"]["finalizers"] = json!(["kubernetes.io/pvc-protection"]);
            body["spec"]["volumeMode"] = json!("Filesystem");
            body
        }),
    ]
}

fn patches() -> Vec<Exchange> {
    let one = format!("{PVS}/one");
    let at = "/metadata/finalizers";
    vec![
        merge(&one, json!({ "metadata": { "annotations": { "a": "1", "b": "2" } } }))
            .keep("rv3", "/metadata/resourceVersion"),
        merge(&one, json!({ "metadata": { "annotations": { "a": null } } })),
        merge(&one, json!({ "metadata": { "annotations": { "b": "2" } } })),
        merge(&one, json!({})),
        merge(&one, json!({ "metadata": { "resourceVersion": "$rv3", "labels": { "x": "y" } } })),
        merge(&one, json!({ "metadata": { "uid": "00000000-0000-4000-8000-000000000000" } })),
        merge(&one, json!({ "metadata": { "name": "another" } })),
        merge(&one, json!({ "status": { "phase": "Bound" } })),
        merge(&one, json!({ "spec": { "csi": { "driver": "other.example" } } })),
        merge(&format!("{PVS}/none"), json!({ "metadata": {} })),
        json_patch(&one, json!([{ "op": "add", "path": format!("{at}/-"), "value": "a.example/one" }])),
        json_patch(
            &one,
            json!([{ "op": "test", "path": format!("{at}/0"), "value": "no" }, { "op": "remove", "path": format!("{at}/0") }]),
        ),
        json_patch(
            &one,
            json!([{ "op": "test", "path": format!("{at}/1"), "value": "a.example/one" }, { "op": "remove", "path": format!("{at}/1") }]),
        ),
        json_patch(&one, json!([{ "op": "remove", "path": format!("{at}/7") }])),
        json_patch(&one, json!([{ "op": "replace", "path": "/metadata/labels/absent", "value": "x" }])),
        json_patch(
            &one,
            json!([{ "op": "test", "path": "/metadata/ownerReferences", "value": null }, { "op": "add", "path": "/metadata/labels/z", "value": "z" }]),
        ),
        strategic(&one, json!({ "metadata": { "finalizers": ["a.example/two"] } })),
        strategic(&one, json!({ "metadata": { "$deleteFromPrimitiveList/finalizers": ["a.example/two"] } })),
        strategic(
            &one,
            json!({ "metadata": { "$setElementOrder/finalizers": ["kubernetes.io/pv-protection", "a.example/three"], "finalizers": ["a.example/three"] } }),
        ),
        strategic(
            &one,
            json!({ "metadata": { "$deleteFromPrimitiveList/finalizers": ["a.example/three", "absent"] }, "spec": { "accessModes": ["ReadWriteOnce", "ReadOnlyMany"] } }),
        ),
        request("PATCH", &one, "text/plain", &json!({})),
    ]
}

fn statuses() -> Vec<Exchange> {
    let (pv, va, pvc) =
        (format!("{PVS}/one/status"), format!("{VAS}/va/status"), format!("{PVCS}/data/status"));
    vec![
        merge(
            &pv,
            json!({ "status": { "phase": "Available" }, "spec": { "persistentVolumeReclaimPolicy": "Retain" } }),
        ),
        merge(&pv, json!({ "metadata": { "annotations": { "by-status": "1" } } })),
        get(&pv),
        merge(
            &va,
            json!({ "status": { "attached": true, "attachmentMetadata": { "a": "b" } }, "metadata": { "annotations": { "by-status": "1" } } }),
        ),
        merge(
            &va,
            json!({ "status": { "attachError": { "time": "2026-01-01T00:00:00Z", "message": "no" } } }),
        ),
        merge(
            &va,
            json!({ "status": { "attached": false, "attachmentMetadata": null, "attachError": null } }),
        ),
        merge(
            &format!("{VAS}/va"),
            json!({ "metadata": { "finalizers": ["a.example/va"] }, "status": { "attached": true } }),
        ),
        merge(
            &pvc,
            json!({ "status": { "phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "1Gi" } } }),
        ),
        strategic(&pvc, json!({ "status": { "conditions": [{ "type": "Resizing", "status": "True" }] } })),
        strategic(
            &pvc,
            json!({ "status": { "conditions": [{ "type": "FileSystemResizePending", "status": "True" }] } }),
        ),
        strategic(&pvc, json!({ "status": { "conditions": [{ "type": "Resizing", "status": "False" }] } })),
        merge(&format!("{CLASSES}/fast/status"), json!({})),
    ]
}

fn lists() -> Vec<Exchange> {
    vec![
        post(PVS, volume("three")),
        post(PVS, volume("two")),
        get(PVS).keep("list", "/metadata/resourceVersion"),
        get(&format!("{PVS}?limit=2")).keep("token", "/metadata/continue"),
        get(&format!("{PVS}?limit=2&continue=$token")),
        get(&format!("{PVS}?labelSelector=group%3Da")),
        get(&format!("{PVS}?labelSelector=group%20in%20(a,zzz),x!%3Dq")),
        get(&format!("{PVS}?labelSelector=!group")),
        get(&format!("{PVS}?fieldSelector=metadata.name%3Dtwo")),
        get(&format!("{PVS}?fieldSelector=metadata.name!%3Dtwo")),
        get(&format!("{PVS}?fieldSelector=spec.csi.driver%3Dx")),
        get(&format!("{PVS}?limit=1&resourceVersion=0")),
        get(&format!("{PVS}?resourceVersion=$list&resourceVersionMatch=NotOlderThan")),
        get(&format!("{PVS}?resourceVersion=nonsense")),
        get("/api/v1/persistentvolumeclaims"),
        get("/api/v1/namespaces/kube-system/persistentvolumeclaims"),
        get(&format!("{PVS}?fieldSelector=metadata.name%3Dtwo"))
            .accept("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
        get(&format!("{PVS}/two")).accept("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"),
    ]
}

fn watches() -> Vec<Exchange> {
    let watch = |query: &str| get(&format!("{PVS}?watch=true&timeoutSeconds=1&{query}"));
    vec![
        merge(&format!("{PVS}/two"), json!({ "metadata": { "labels": { "group": "b" } } })),
        merge(&format!("{PVS}/three"), json!({ "metadata": { "annotations": { "n": "1" } } })),
        merge(&format!("{PVS}/two"), json!({ "metadata": { "labels": { "group": "a" } } })),
        watch("resourceVersion=$list"),
        watch("resourceVersion=$list&labelSelector=group%3Da"),
        watch("resourceVersion=$list&fieldSelector=metadata.name%3Dthree"),
        watch("fieldSelector=metadata.name%3Dthree"),
        watch("resourceVersion=0&fieldSelector=metadata.name%3Dthree"),
        watch(
            "allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&fieldSelector=metadata.name%3Dthree",
        ),
        watch("sendInitialEvents=true"),
        watch("resourceVersion=1"),
        watch("resourceVersion=$list&fieldSelector=metadata.name%3Dthree")
            .accept("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"),
    ]
}

fn deletions() -> Vec<Exchange> {
    let two = format!("{PVS}/two");
    let with = |body: Value| request("DELETE", &two, "application/json", &body);
    let finalizers = |list: Value| json!({ "metadata": { "finalizers": list } });
    vec![
        with(json!({ "preconditions": { "uid": "00000000-0000-4000-8000-000000000000" } })),
        with(json!({ "preconditions": { "resourceVersion": "1" } })),
        delete(&two),
        delete(&two),
        merge(&two, finalizers(json!(["kubernetes.io/pv-protection", "a.example/late"]))),
        merge(&two, json!({ "metadata": { "annotations": { "still": "here" } } })),
        merge(&two, finalizers(json!(null))),
        get(&two),
        delete(&two),
        merge(&two, finalizers(json!(null))),
        merge(&format!("{PVS}/three"), finalizers(json!([]))),
        delete(&format!("{PVS}/three")),
        get(&format!("{PVS}?watch=true&timeoutSeconds=1&resourceVersion=$list&labelSelector=group%3Da")),
        delete(&format!("{VAS}/va-with-status")),
        delete(&format!("{VAS}/va")),
        merge(&format!("{VAS}/va"), finalizers(json!(null))),
        delete(&format!("{VAS}/va")),
        delete(&format!("{CLASSES}/fast")),
        delete(&format!("{PVCS}/data")),
        strategic(
            &format!("{PVCS}/data"),
            json!({ "metadata": { "$deleteFromPrimitiveList/finalizers": ["kubernetes.io/pvc-protection"] } }),
        ),
        get(&format!("{PVCS}/data")),
    ]
}
