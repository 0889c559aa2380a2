//! Generates the CSI messages and servers, and for each message what Mooring adds to it.
//!
//! protox compiles the files of `proto/` in process (no `protoc`), tonic-prost-build writes messages
//! and server stubs, and this file adds, per message, a `Redact` implementation and, per request, its
//! `Rpc` or `StreamRpc` implementation. Clients are not generated: `csi::Driver::call` needs only the
//! method path and the two types, which keeps one code path instead of one per RPC.
//!
//! The descriptors are read twice on purpose: prost's `FileDescriptorSet` forgets extension options
//! such as `csi_secret`, so what must know them reads protox's encoded bytes through prost-reflect.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use prost_reflect::{
    Cardinality, DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, ServiceDescriptor,
};

/// The packages and the file that holds what we add to each.
const PACKAGES: [(&str, &str); 3] = [
    ("csi.v1", "csi.v1.mooring.rs"),
    ("csi.v1_12", "csi.v1_12.mooring.rs"),
    ("pluginregistration", "pluginregistration.mooring.rs"),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(["csi.proto", "csi_1_12.proto", "pluginregistration.proto"])?;
    let pool = DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice())?;

    let mut generator = tonic_prost_build::configure()
        .build_client(false)
        .build_server(true)
        .btree_map(".")
        .emit_rerun_if_changed(false);
    // A derived Debug would print credentials; these messages get one that does not.
    let secretive: Vec<String> =
        pool.all_messages().filter(holds_secret).map(|message| format!(".{}", message.full_name())).collect();
    assert_eq!(secretive.len(), 22, "csi_secret options were lost on the way");
    generator = generator.skip_debug(&secretive);
    generator.compile_fds(compiler.file_descriptor_set())?;

    for (package, file) in PACKAGES {
        write_additions(&pool, package, &out.join(file))?;
    }
    collector(&out.join("otlp"))
}

/// The messages by which spans are sent. Nothing is added to them.
fn collector(out: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(out)?;
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).open_file("opentelemetry/proto/collector/trace/v1/trace_service.proto")?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_server(true)
        .emit_rerun_if_changed(false)
        .include_file("otlp.rs")
        .out_dir(out)
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

fn write_additions(pool: &DescriptorPool, package: &str, file: &Path) -> Result<(), Box<dyn Error>> {
    let mut code = String::new();
    for message in pool.all_messages().filter(|message| message.package_name() == package) {
        if message.is_map_entry() {
            continue;
        }
        redact(&mut code, &message)?;
        if holds_secret(&message) {
            debug(&mut code, &message)?;
        }
    }
    for service in pool.services().filter(|service| service.package_name() == package) {
        methods(&mut code, &service)?;
    }
    std::fs::write(file, code)?;
    Ok(())
}

fn holds_secret(message: &MessageDescriptor) -> bool {
    message.fields().any(|field| is_secret(&field))
}

fn is_secret(field: &FieldDescriptor) -> bool {
    let Some(option) = field.parent_pool().get_extension_by_name("csi.v1.csi_secret") else {
        return false;
    };
    let options = field.options();
    options.has_extension(&option) && options.get_extension(&option).as_bool().unwrap_or_default()
}

/// `impl Redact`: fields by name order, populated ones only, credentials stripped whole.
fn redact(code: &mut String, message: &MessageDescriptor) -> std::fmt::Result {
    let mut fields: Vec<FieldDescriptor> = message.fields().collect();
    fields.sort_by(|a, b| a.name().cmp(b.name()));
    writeln!(code, "impl crate::Redact for {} {{", rust_path(message))?;
    writeln!(code, "    fn redact(&self, out: &mut crate::redact::Line) {{")?;
    writeln!(code, "        #[allow(unused_mut)]")?;
    writeln!(code, "        let mut object = crate::redact::Object::new(out);")?;
    for field in &fields {
        match field.containing_oneof() {
            Some(oneof) => {
                let choice = format!(
                    "{}::{}::{}",
                    scope(message),
                    upper_camel(oneof.name()),
                    upper_camel(field.name())
                );
                writeln!(
                    code,
                    "        if let Some({choice}(value)) = &self.{} {{ object.message({:?}, Some(value)); }}",
                    field_name(oneof.name()),
                    field.name()
                )?;
            }
            None => writeln!(code, "        {}", entry(field))?,
        }
    }
    writeln!(code, "        object.end();")?;
    writeln!(code, "    }}\n}}")
}

/// The statement that adds one plain field to the object.
fn entry(field: &FieldDescriptor) -> String {
    let key = field.name();
    let place = format!("self.{}", field_name(key));
    if is_secret(field) {
        return format!("object.secret({key:?}, &{place});");
    }
    if field.is_map() && matches!(key, "volume_context" | "publish_context") {
        return format!("object.context({key:?}, &{place});");
    }
    if key == "mount_flags" {
        return format!("object.flags({key:?}, &{place});");
    }
    if field.is_map() {
        return format!("object.map({key:?}, &{place});");
    }
    let many = field.cardinality() == Cardinality::Repeated;
    match field.kind() {
        Kind::String if many => format!("object.texts({key:?}, &{place});"),
        Kind::String => format!("object.text({key:?}, &{place});"),
        Kind::Int32 | Kind::Int64 if !many => {
            format!("object.number({key:?}, i64::from({place}));")
        }
        Kind::Bool if !many => format!("object.flag({key:?}, {place});"),
        Kind::Enum(kind) if !many => {
            let path = match kind.parent_message() {
                Some(parent) => format!("{}::{}", scope(&parent), upper_camel(kind.name())),
                None => upper_camel(kind.name()),
            };
            format!(
                "object.choice({key:?}, {place}, {path}::try_from({place}).ok().map(|value| value.as_str_name()));"
            )
        }
        Kind::Message(kind) => match kind.full_name() {
            "google.protobuf.BoolValue" => format!("object.wrapped_flag({key:?}, {place});"),
            "google.protobuf.Int64Value" => format!("object.wrapped_number({key:?}, {place});"),
            _ if many => format!("object.messages({key:?}, &{place});"),
            _ => format!("object.message({key:?}, {place}.as_ref());"),
        },
        other => unreachable!("{}: {other:?} does not occur in the protocol", field.full_name()),
    }
}

/// `impl Debug` for a message with credentials: the redacted form.
fn debug(code: &mut String, message: &MessageDescriptor) -> std::fmt::Result {
    writeln!(code, "impl ::core::fmt::Debug for {} {{", rust_path(message))?;
    writeln!(code, "    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{")?;
    writeln!(code, "        f.write_str(&crate::redacted(self))")?;
    writeln!(code, "    }}\n}}")
}

/// `impl Rpc` or `impl StreamRpc` for the request of each method.
fn methods(code: &mut String, service: &ServiceDescriptor) -> std::fmt::Result {
    for method in service.methods() {
        assert!(!method.is_client_streaming(), "{}", method.full_name());
        let kind = if method.is_server_streaming() { "StreamRpc" } else { "Rpc" };
        writeln!(code, "impl crate::{kind} for {} {{", rust_path(&method.input()))?;
        writeln!(code, "    type Reply = {};", rust_path(&method.output()))?;
        writeln!(
            code,
            "    const METHOD: &'static str = \"/{}/{}\";\n}}",
            service.full_name(),
            method.name()
        )?;
    }
    Ok(())
}

/// A message's type as prost names it, relative to its package.
fn rust_path(message: &MessageDescriptor) -> String {
    match message.parent_message() {
        Some(parent) => format!("{}::{}", scope(&parent), upper_camel(message.name())),
        None => upper_camel(message.name()),
    }
}

/// The module that prost makes for what is nested in a message.
fn scope(message: &MessageDescriptor) -> String {
    let own = snake(message.name());
    match message.parent_message() {
        Some(parent) => format!("{}::{own}", scope(&parent)),
        None => own,
    }
}

fn field_name(name: &str) -> String {
    if name == "type" { "r#type".to_owned() } else { name.to_owned() }
}

fn snake(name: &str) -> String {
    let mut out = String::new();
    let mut after_lower = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && after_lower {
            out.push('_');
        }
        after_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        out.push(c.to_ascii_lowercase());
    }
    out
}

fn upper_camel(name: &str) -> String {
    if name.chars().all(|c| c.is_ascii_uppercase()) {
        return name[..1].to_owned() + &name[1..].to_ascii_lowercase();
    }
    let mut out = String::new();
    for part in name.split('_') {
        let mut letters = part.chars();
        out.extend(letters.next().map(|c| c.to_ascii_uppercase()));
        out.push_str(letters.as_str());
    }
    out
}
