//! What the kubelet asks and says on the registration socket.

use std::time::Duration;

use csi::registration::registration_server::Registration;
use csi::registration::{InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

/// What kind of plugin a CSI driver is, to the kubelet.
const KIND: &str = "CSIPlugin";
/// The version of the kubelet's protocol with CSI drivers. It is not the version of CSI.
const VERSIONS: [&str; 1] = ["1.0.0"];

/// How long the kubelet waits for the answer to a refusal.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the kubelet made of the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It has not asked since this time, when the socket was made.
    Pending(Instant),
    /// It asked at this time, and has not said more.
    Asked(Instant),
    /// It uses the driver.
    Registered,
    /// It does not, for this reason.
    Refused(String),
}

/// The service on the registration socket. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    info: PluginInfo,
    verdict: watch::Sender<Verdict>,
}

impl Service {
    /// Offers the driver of this name, whose socket the kubelet finds at `path`.
    pub(crate) fn new(name: &str, path: &str) -> Self {
        let info = PluginInfo {
            r#type: KIND.to_owned(),
            name: name.to_owned(),
            endpoint: path.to_owned(),
            supported_versions: VERSIONS.map(str::to_owned).to_vec(),
        };
        Self { info, verdict: watch::Sender::new(Verdict::Pending(Instant::now())) }
    }

    /// What the kubelet has said.
    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict.borrow().clone()
    }

    /// A new socket was made: the kubelet must register the driver again. A refusal stands.
    pub(crate) fn offer_again(&self) {
        self.verdict.send_if_modified(|verdict| {
            let stands = matches!(verdict, Verdict::Refused(_));
            if !stands {
                *verdict = Verdict::Pending(Instant::now());
            }
            !stands
        });
    }

    /// Resolves when the kubelet refuses the driver, with its reason.
    pub(crate) async fn refused(&self) -> String {
        let mut verdict = self.verdict.subscribe();
        loop {
            if let Verdict::Refused(reason) = &*verdict.borrow_and_update() {
                return reason.clone();
            }
            if verdict.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

#[tonic::async_trait]
impl Registration for Service {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        base::info!("The kubelet asks for the driver"; "driver" => self.info.name, "endpoint" => self.info.endpoint);
        self.verdict.send_if_modified(|verdict| {
            let waits = matches!(verdict, Verdict::Pending(_) | Verdict::Asked(_));
            if waits {
                *verdict = Verdict::Asked(Instant::now());
            }
            waits
        });
        Ok(Response::new(self.info.clone()))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let RegistrationStatus { plugin_registered, error } = request.into_inner();
        if plugin_registered {
            base::info!("The kubelet has registered the driver"; "driver" => self.info.name);
            self.verdict.send_replace(Verdict::Registered);
            return Ok(Response::new(RegistrationStatusResponse {}));
        }
        self.verdict.send_replace(Verdict::Refused(error));
        // csi-node-driver-registrar ends before it answers. `mooring node` goes on, and must not keep the call.
        tokio::time::sleep(FAREWELL).await;
        Err(Status::aborted("the driver will be offered again"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn kubelet_learns_kind_name_path_and_version() {
        let service = Service::new("driver.example", "/var/lib/kubelet/plugins/d/csi.sock");
        let info = service.get_info(Request::new(InfoRequest {})).await.unwrap().into_inner();
        assert_eq!((info.r#type.as_str(), info.name.as_str()), ("CSIPlugin", "driver.example"));
        assert_eq!(info.endpoint, "/var/lib/kubelet/plugins/d/csi.sock");
        assert_eq!(info.supported_versions, ["1.0.0"]);
        assert_eq!(service.verdict(), Verdict::Asked(Instant::now()), "asking is not registering");
    }

    #[tokio::test(start_paused = true)]
    async fn question_of_the_kubelet_is_remembered_until_it_says_more() {
        let service = Service::new("driver.example", "/csi.sock");
        assert_eq!(service.verdict(), Verdict::Pending(Instant::now()));
        for _ in 0..2 {
            tokio::time::advance(Duration::from_secs(122)).await;
            service.get_info(Request::new(InfoRequest {})).await.unwrap();
            assert_eq!(service.verdict(), Verdict::Asked(Instant::now()));
        }
        let registered = RegistrationStatus { plugin_registered: true, error: String::new() };
        service.notify_registration_status(Request::new(registered)).await.unwrap();
        service.get_info(Request::new(InfoRequest {})).await.unwrap();
        assert_eq!(service.verdict(), Verdict::Registered, "a kubelet that restarted asks again");
    }

    #[tokio::test(start_paused = true)]
    async fn refusal_is_told_before_it_is_answered() {
        let service = Service::new("driver.example", "/csi.sock");
        let status = |plugin_registered, error: &str| {
            Request::new(RegistrationStatus { plugin_registered, error: error.to_owned() })
        };
        service.notify_registration_status(status(true, "")).await.unwrap();
        assert_eq!(service.verdict(), Verdict::Registered);
        service.offer_again();
        assert_eq!(service.verdict(), Verdict::Pending(Instant::now()), "of the new socket it knows nothing");
        tokio::select! {
            _ = service.notify_registration_status(status(false, "no such socket")) => panic!("answered"),
            reason = service.refused() => assert_eq!(reason, "no such socket"),
        }
        service.offer_again();
        assert_eq!(service.verdict(), Verdict::Refused("no such socket".to_owned()));
    }
}
