//! `csc identity …`.

use csi::v1;
use csi::v1::plugin_capability::Type;
use csi::v1::plugin_capability::service::Type as Service;
use csi::v1::plugin_capability::volume_expansion::Type as Expansion;

use crate::cli::Identity;
use crate::connection::Session;
use crate::failure::Failure;
use crate::output::{enum_name, pairs, quoted, reply};

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
                    Some(Type::Service(service)) => {
                        let known = Service::try_from(service.r#type).ok().map(|kind| kind.as_str_name());
                        enum_name(known, service.r#type)
                    }
                    Some(Type::VolumeExpansion(mode)) => {
                        let known = Expansion::try_from(mode.r#type).ok().map(|kind| kind.as_str_name());
                        enum_name(known, mode.r#type)
                    }
                    None => "UNKNOWN".to_owned(),
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
