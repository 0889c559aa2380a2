//! `csc identity …`.

use csi::v1;
use csi::v1::plugin_capability::Type;

use crate::cli::Identity;
use crate::connection::Session;
use crate::failure::Failure;
use crate::output::{pairs, quoted, reply};

pub(crate) async fn run(session: &Session, command: Identity) -> Result<(), Failure> {
    match command {
        Identity::PluginInfo => {
            let info = session.call(v1::GetPluginInfoRequest {}, false).await?;
            reply(session.form, &info, |info| {
                let mut line = format!("{}\t{}", quoted(&info.name), quoted(&info.vendor_version));
                if !info.manifest.is_empty() {
                    line = format!("{line}\t{}", pairs(&info.manifest));
                }
                line
            });
        }
        Identity::PluginCapabilities => {
            let capabilities = session.call(v1::GetPluginCapabilitiesRequest {}, false).await?;
            reply(session.form, &capabilities, |all| {
                let name = |capability: &v1::PluginCapability| match &capability.r#type {
                    Some(Type::Service(service)) => service.r#type().as_str_name(),
                    Some(Type::VolumeExpansion(expansion)) => expansion.r#type().as_str_name(),
                    None => "UNKNOWN",
                };
                all.capabilities.iter().map(name).collect::<Vec<_>>().join("\n")
            });
        }
        Identity::Probe => {
            let probe = session.call(v1::ProbeRequest {}, false).await?;
            // Absent means ready.
            reply(session.form, &probe, |probe| probe.ready.as_ref().is_none_or(|ready| *ready).to_string());
        }
    }
    Ok(())
}
