//! What csc shows of volumes that something is wrong with: the health of CSI 1.13, the condition of 1.12.

use conformance::{Running, in_own_mounts};

use super::{complained, driver, good, id, inside, old_driver, run};

#[test]
fn health_of_a_driver_of_csi_1_13_is_shown() {
    inside(|folder| async move {
        let (driver, at) = driver(&folder, &["--enable-topology=false"]).await;
        let lost = id(&good(&format!("csc c new {at} --cap 1,mount --req-bytes 1048576 lost")));
        let places: Vec<_> = std::fs::read_dir(Running::state(&folder)).unwrap().flatten().collect();
        let place = places.iter().find(|place| place.file_name().len() == 36).unwrap().path();
        let fine = id(&good(&format!("csc c new {at} --cap 1,mount --req-bytes 1048576 fine")));
        std::fs::remove_dir(place).unwrap();
        let line =
            format!("\"{lost}\"\tDATA_LOSS\t\"ContentMissing\"\t\"the volume's content is missing\"\n");
        let healthy = format!("\"{fine}\"\thealthy\n");

        assert_eq!(
            good(&format!("csc controller get-volume-health {at} {lost} {fine}")),
            format!("{line}{healthy}")
        );
        assert_eq!(good(&format!("csc controller list-volume-health {at}")), line);
        assert_eq!(good(&format!("csc c list-health {at} --paging --max-entries 1")), line);
        assert_eq!(
            good(&format!("csc c list-health {at} --paging --format {{{{.VolumeId}}}}")),
            format!("{lost}\n")
        );
        assert_eq!(
            good(&format!("csc node volume-health {at} {lost} {fine}:/a:/b")),
            format!("{line}{healthy}")
        );
        assert_eq!(good(&format!("csc node storage-health {at}")), "healthy\n");
        let json = good(&format!("csc c health {at} -O json --with-spec-validation {lost}"));
        assert_eq!(
            json,
            format!(
                "{{\"volume_health\":{{\"health_statuses\":[{{\"message\":\"the volume's content is missing\",\
                 \"reason\":\"ContentMissing\",\"status\":\"DATA_LOSS\"}}],\"volume_id\":\"{lost}\"}}}}\n"
            )
        );
        // Upstream's lines are as they were.
        assert_eq!(good(&format!("csc c get-volume {at} {lost}")), format!("\"{lost}\"\t1048576\n"));
        let caps = good(&format!("csc c capabilities {at}"));
        assert!(caps.contains("\nGET_VOLUME_HEALTH\n") && caps.contains("\nLIST_VOLUME_HEALTH\n"), "{caps}");

        for (line, code) in [
            (format!("csc c health {at} nope"), 5),
            (format!("csc n health {at} nope"), 5),
            (format!("csc n health {at} :/a"), 1),
            (format!("csc c list-health {at} --starting-token x"), 10),
        ] {
            assert_eq!(run(&line).status.code(), Some(code), "{line}");
        }
        driver.stop().await;
    });
}

#[test]
fn the_condition_of_a_driver_of_csi_1_12_is_shown() {
    inside(|_| async move {
        let at = format!("-e tcp://{}", old_driver::start());
        let list = tokio::task::spawn_blocking(move || {
            assert_eq!(
                good(&format!("csc c ls {at}")),
                "\"good\"\t1024\n\"bad\"\t1024\tabnormal=true\t\"on fire\"\n"
            );
            assert_eq!(
                good(&format!("csc c get-volume {at} bad")),
                "\"bad\"\t1024\tnode=\"n\"\tabnormal=true\t\"on fire\"\n"
            );
            assert_eq!(
                good(&format!("csc n stats {at} bad:/path")),
                "bad\t/path\t1\t3\t2\tBYTES\nabnormal=true\t\"on fire\"\n"
            );
            let whole = good(&format!("csc c ls {at} -O json --with-spec-validation"));
            assert!(whole.contains(r#""volume_condition":{"abnormal":true,"message":"on fire"}"#), "{whole}");
            let picked =
                good(&format!("csc c ls {at} --paging --format {{{{.Status.VolumeCondition.Message}}}}"));
            assert_eq!(picked, "fine\non fire\n");
            // A capability that nobody knows is a number.
            assert_eq!(good(&format!("csc c capabilities {at}")), "LIST_VOLUMES\nVOLUME_CONDITION\n99\n");
            assert_eq!(good(&format!("csc n capabilities {at}")), "GET_VOLUME_STATS\nVOLUME_CONDITION\n");
            // What it does not have, it says.
            let none = run(&format!("csc c health {at} bad"));
            assert_eq!(none.status.code(), Some(12), "{}", complained(&none));
        });
        list.await.unwrap();
    });
}

in_own_mounts!(a_lost_mount_shows_in_the_nodes_health, lost_mount());

fn lost_mount() {
    inside(|folder| async move {
        let (driver, at) = driver(&folder, &[]).await;
        let volume = id(&good(&format!("csc c new {at} --cap 1,mount --req-bytes 1048576 v")));
        let target = folder.join("target").display().to_string();
        good(&format!("csc n mount {at} --cap 1,mount --target-path {target} {volume}"));
        assert_eq!(good(&format!("csc n health {at} {volume}:{target}")), format!("\"{volume}\"\thealthy\n"));
        assert!(std::process::Command::new("umount").arg(&target).status().unwrap().success());
        assert_eq!(
            good(&format!("csc n health {at} {volume}:{target}")),
            format!(
                "\"{volume}\"\tINACCESSIBLE\t\"NotMounted\"\t\"the volume is not mounted at \\\"{target}\\\"\"\n"
            )
        );
        good(&format!("csc n umount {at} --target-path {target} {volume}"));
        driver.stop().await;
    });
}
