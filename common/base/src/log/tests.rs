//! The macros end to end, on a captured sink. Options are per process and stay at their defaults
//! here: text, `-v=0`.

use std::fmt;

/// Fails the test if it is ever printed.
struct NeverPrinted;

impl fmt::Display for NeverPrinted {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("printed although the level is off")
    }
}

#[test]
fn macros_write_header_message_and_values() {
    let name = String::from("data");
    let got = super::capture(|| {
        crate::info!("Started"; "workers" => 10_u32, "name" => name, "leader" => true);
        crate::warn!("Careful");
        crate::error!("boom", "Failed"; "attempt" => &3_i64,);
    });
    let lines: Vec<&str> = got.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with('I') && lines[0].contains(" tests.rs:"), "{got}");
    assert!(lines[0].ends_with("] \"Started\" workers=10 name=\"data\" leader=true"), "{got}");
    assert!(lines[1].starts_with('W') && lines[1].ends_with("] \"Careful\""), "{got}");
    assert!(lines[2].starts_with('E'), "{got}");
    assert!(lines[2].ends_with("] \"Failed\" err=\"boom\" attempt=3"), "{got}");
}

#[test]
fn unwanted_levels_touch_no_value() {
    let got = super::capture(|| crate::v!(5, "GRPC call"; "request" => NeverPrinted));
    assert_eq!(got, "");
}

#[test]
fn a_secret_is_stripped() {
    let secret = crate::secret::SecretValue::from("hunter2");
    let got = super::capture(|| crate::info!("Read"; "secret" => secret));
    assert!(got.ends_with("\"Read\" secret=\"***stripped***\"\n"), "{got}");
}

#[test]
fn library_events_keep_their_severity_and_fields() {
    let got = super::capture(|| {
        tracing::subscriber::with_default(super::foreign::Libraries::new(0), || {
            tracing::warn!(target: "kube_client", status = 429, "throttled");
            tracing::info!("chatter");
            tracing::error!(error = "gone", "lost");
        });
    });
    let lines: Vec<&str> = got.lines().collect();
    assert_eq!(lines.len(), 2, "{got}");
    assert!(lines[0].starts_with('W'), "{got}");
    assert!(lines[0].ends_with("] \"throttled\" status=\"429\" target=\"kube_client\""), "{got}");
    assert!(lines[1].contains("] \"lost\" error=\"gone\" target="), "{got}");
}
