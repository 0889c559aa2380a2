//! Our protocol files say what the official ones say.
//!
//! The official files come out of the Go module cache (`go mod download` fetches them when they are
//! missing). Every message, field, enum value, reserved number, service, method, extension and option is
//! compared; comments are ours and are not. Without Go the test fails and says so, unless the environment
//! variable `MOORING_SKIP_OFFICIAL_PROTOCOL` is set.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, MessageDescriptor, ServiceDescriptor,
};

const CSI: &str = "github.com/container-storage-interface/spec";
const SKIP: &str = "MOORING_SKIP_OFFICIAL_PROTOCOL";

#[test]
fn csi_is_the_official_protocol() {
    let Some(module) = module(CSI, "v1.13.0") else { return };
    compare("csi.v1", &module.join("csi.proto"), "csi.proto");
}

#[test]
fn replies_with_a_condition_are_those_of_csi_1_12() {
    let Some(module) = module(CSI, "v1.12.0") else { return };
    let kept = [
        "csi.v1.VolumeCondition",
        "csi.v1.ListVolumesResponse",
        "csi.v1.ControllerGetVolumeResponse",
        "csi.v1.NodeGetVolumeStatsResponse",
    ];
    let is_kept = |fact: &String| {
        let name = fact.split(' ').nth(1).unwrap_or_default();
        kept.iter()
            .any(|kept| name.strip_prefix(kept).is_some_and(|rest| matches!(rest.get(..1), None | Some("."))))
    };
    let official = facts(&module.join("csi.proto"), "csi.v1").into_iter().filter(is_kept).collect();
    let ours = facts(&ours("csi_1_12.proto"), "csi.v1_12");
    let ours = ours.iter().map(|fact| fact.replace("csi.v1_12.", "csi.v1.")).collect();
    assert_same(&official, &ours);
}

#[test]
fn plugin_registration_is_the_official_protocol() {
    let Some(module) = module("k8s.io/kubelet", "v0.37.2") else { return };
    let official = module.join("pkg/apis/pluginregistration/v1/api.proto");
    compare("pluginregistration", &official, "pluginregistration.proto");
}

/// The official module has Go code only; each file holds the descriptor that it was generated from.
#[test]
fn otlp_is_the_official_protocol() {
    let Some(module) = module("go.opentelemetry.io/proto/otlp", "v1.11.1") else { return };
    let mut official = DescriptorPool::new();
    for (folder, file) in [
        ("common", "common"),
        ("resource", "resource"),
        ("trace", "trace"),
        ("collector/trace", "trace_service"),
    ] {
        let path = format!("opentelemetry/proto/{folder}/v1/{file}.proto");
        let code = std::fs::read_to_string(module.join(format!("{folder}/v1/{file}.pb.go"))).unwrap();
        official.decode_file_descriptor_proto(raw_descriptor(&code).as_slice()).unwrap();
        let package = format!("opentelemetry.proto.{}.v1", folder.replace('/', "."));
        let mut compiler = protox::Compiler::new([ours("")]).unwrap();
        compiler.include_imports(true).open_file(ours(&path)).unwrap();
        let ours = DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap();
        assert_same(&facts_of(&official, &package), &facts_of(&ours, &package));
    }
}

/// The bytes of the Go string constant whose name ends in `_rawDesc`.
fn raw_descriptor(code: &str) -> Vec<u8> {
    let (_, text) = code.split_once("_rawDesc = \"\" +\n").unwrap();
    let mut bytes = Vec::new();
    for line in text.lines().take_while(|line| !line.is_empty()) {
        let line = line.trim().trim_end_matches(" +");
        let mut letters = line.strip_prefix('"').and_then(|line| line.strip_suffix('"')).unwrap().chars();
        while let Some(letter) = letters.next() {
            let escaped = if letter == '\\' { letters.next() } else { None };
            match escaped {
                None => bytes.extend(letter.to_string().bytes()),
                Some('x') => {
                    let digits: String = letters.by_ref().take(2).collect();
                    bytes.push(u8::from_str_radix(&digits, 16).unwrap());
                }
                Some(c) => {
                    let found = [('a', 7), ('b', 8), ('t', 9), ('n', 10), ('v', 11), ('f', 12), ('r', 13)];
                    let byte = found.iter().find(|(name, _)| *name == c).map_or(c as u8, |(_, byte)| *byte);
                    bytes.push(byte);
                }
            }
        }
    }
    bytes
}

#[test]
fn the_comparison_sees_a_lost_secret_option() {
    let text = std::fs::read_to_string(ours("csi.proto")).unwrap();
    let changed = tempfile::tempdir().unwrap();
    let file = changed.path().join("csi.proto");
    std::fs::write(&file, text.replacen("secrets = 3 [(csi_secret) = true]", "secrets = 3", 1)).unwrap();
    let whole = facts(&ours("csi.proto"), "csi.v1");
    let less = facts(&file, "csi.v1");
    assert_eq!(whole.symmetric_difference(&less).count(), 2);
}

#[test]
fn the_comparison_sees_a_number_that_is_no_longer_reserved() {
    let text = std::fs::read_to_string(ours("csi.proto")).unwrap();
    let changed = tempfile::tempdir().unwrap();
    let file = changed.path().join("csi.proto");
    for number in [2, 4, 11] {
        std::fs::write(&file, text.replacen(&format!("reserved {number};"), "", 1)).unwrap();
        let differing = facts(&ours("csi.proto"), "csi.v1");
        assert_eq!(differing.symmetric_difference(&facts(&file, "csi.v1")).count(), 1, "{number}");
    }
}

/// One of our files.
fn ours(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("proto").join(name)
}

fn compare(package: &str, official: &Path, file: &str) {
    assert_same(&facts(official, package), &facts(&ours(file), package));
}

fn assert_same(official: &BTreeSet<String>, ours: &BTreeSet<String>) {
    assert!(official.len() > 3, "nothing to compare with: {official:?}");
    let missing: Vec<_> = official.difference(ours).collect();
    let extra: Vec<_> = ours.difference(official).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing: {missing:#?}\nextra: {extra:#?}");
}

/// The folder of a Go module, fetched if need be; none if the environment says to skip.
fn module(path: &str, version: &str) -> Option<PathBuf> {
    if std::env::var_os(SKIP).is_some() {
        println!("skipped: comparing with {path} {version}: {SKIP} is set; unset it where Go is installed");
        return None;
    }
    let scratch = tempfile::tempdir().unwrap();
    let output = Command::new("go")
        .args(["mod", "download", "-json", &format!("{path}@{version}")])
        .current_dir(scratch.path())
        .env("GO111MODULE", "on")
        .output()
        .unwrap_or_else(|error| {
            panic!("Go is needed to fetch {path} {version}: {error}; install it, or set {SKIP}=1 to skip")
        });
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let folder = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("\"Dir\": \"")?.strip_suffix("\","))
        .unwrap_or_else(|| {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            panic!("cannot fetch {path} {version} (set {SKIP}=1 to skip): {text}{why}")
        });
    Some(PathBuf::from(folder))
}

/// Everything that counts in a file, one line each.
fn facts(file: &Path, package: &str) -> BTreeSet<String> {
    let folder = file.parent().unwrap();
    let mut compiler = protox::Compiler::new([folder]).unwrap();
    compiler.include_imports(true).open_file(file).unwrap();
    // Encoded bytes keep extension options, prost's own descriptor type does not.
    let pool = DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap();
    facts_of(&pool, package)
}

/// Everything that counts in a package.
fn facts_of(pool: &DescriptorPool, package: &str) -> BTreeSet<String> {
    let mut facts = BTreeSet::new();
    for message in pool.all_messages().filter(|message| message.package_name() == package) {
        add_message(&mut facts, &message);
    }
    for kind in pool.all_enums().filter(|kind| kind.package_name() == package) {
        add_enum(&mut facts, &kind);
    }
    for service in pool.services().filter(|service| service.package_name() == package) {
        add_service(&mut facts, &service);
    }
    for extension in pool.all_extensions().filter(|extension| extension.package_name() == package) {
        facts.insert(format!(
            "extension {} {} {:?} of {}",
            extension.full_name(),
            extension.number(),
            extension.kind(),
            extension.containing_message().full_name()
        ));
    }
    facts
}

fn add_message(facts: &mut BTreeSet<String>, message: &MessageDescriptor) {
    let options = options(&message.options());
    facts.insert(format!("message {} {options}", message.full_name()));
    for field in message.fields() {
        facts.insert(field_line(&field));
    }
    for numbers in message.reserved_ranges() {
        facts.insert(format!("reserved {} {numbers:?}", message.full_name()));
    }
    for oneof in message.oneofs() {
        facts.insert(format!("oneof {}", oneof.full_name()));
    }
}

fn field_line(field: &FieldDescriptor) -> String {
    format!(
        "field {} = {} {:?} {:?} oneof {:?} presence {} json {} {}",
        field.full_name(),
        field.number(),
        field.cardinality(),
        field.kind(),
        field.containing_oneof().map(|oneof| oneof.name().to_owned()),
        field.supports_presence(),
        field.json_name(),
        options(&field.options()),
    )
}

fn add_enum(facts: &mut BTreeSet<String>, kind: &EnumDescriptor) {
    facts.insert(format!("enum {} {}", kind.full_name(), options(&kind.options())));
    for numbers in kind.reserved_ranges() {
        facts.insert(format!("reserved {} {numbers:?}", kind.full_name()));
    }
    for value in kind.values() {
        facts.insert(format!(
            "value {} = {} {}",
            value.full_name(),
            value.number(),
            options(&value.options())
        ));
    }
}

fn add_service(facts: &mut BTreeSet<String>, service: &ServiceDescriptor) {
    facts.insert(format!("service {} {}", service.full_name(), options(&service.options())));
    for method in service.methods() {
        facts.insert(format!(
            "method {} ({} {}) returns ({} {}) {}",
            method.full_name(),
            method.is_client_streaming(),
            method.input().full_name(),
            method.is_server_streaming(),
            method.output().full_name(),
            options(&method.options()),
        ));
    }
}

/// The options that are set, extensions included.
fn options(options: &DynamicMessage) -> String {
    let plain = options.fields().map(|(field, value)| format!("{}={value}", field.name()));
    let extended = options.extensions().map(|(field, value)| format!("({})={value}", field.full_name()));
    let all: BTreeSet<String> = plain.chain(extended).collect();
    format!("[{}]", all.into_iter().collect::<Vec<_>>().join(" "))
}
