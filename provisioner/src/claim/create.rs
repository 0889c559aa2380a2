//! Calls CreateVolume.

use csi::v1;
use kubernetes::secret::read;
use tokio::time::Instant;
use tonic::Status;

use super::error::ProvisionError;
use super::reconcile::Claims;
use super::request::Prepared;

/// How often we try to delete a volume that is too small.
const CLEANUP_TRIES: usize = 5;
impl Claims {
    /// The request with the content of its Secret, as that is now.
    pub(super) async fn with_secrets(
        &self,
        prepared: &Prepared,
    ) -> Result<v1::CreateVolumeRequest, ProvisionError> {
        let mut request = prepared.request.clone();
        if let Some(reference) = &prepared.secrets.provision {
            let secrets = read(&self.seat.objects, reference)
                .await
                .map_err(|reason| ProvisionError::Secret { name: reference.to_string(), reason })?;
            request.secrets = secrets.to_request();
        }
        Ok(request)
    }

    /// Calls CreateVolume. Returns the volume and its size in bytes.
    pub(super) async fn create(
        &self,
        request: &v1::CreateVolumeRequest,
        asked: i64,
    ) -> Result<(v1::Volume, i64), ProvisionError> {
        let reply = self.seat.driver.call(request.clone(), self.config.timeout).await;
        let made =
            reply.map_err(ProvisionError::Driver)?.volume.ok_or(ProvisionError::Malformed("a volume"))?;
        if made.volume_id.is_empty() {
            return Err(ProvisionError::Malformed("a volume id"));
        }
        let created = made.capacity_bytes;
        if created != 0 && created < asked {
            let cleanup = self.clean_up(&made.volume_id, request).await.err();
            return Err(ProvisionError::TooSmall { asked, created, cleanup });
        }
        let bytes = if created == 0 { asked } else { created };
        Ok((made, bytes))
    }

    /// Deletes a volume that cannot be used, with a few tries within one timeout.
    async fn clean_up(&self, id: &str, create: &v1::CreateVolumeRequest) -> Result<(), Status> {
        let request = v1::DeleteVolumeRequest { volume_id: id.to_owned(), secrets: create.secrets.clone() };
        let deadline = Instant::now() + self.config.timeout;
        let mut failed = Status::deadline_exceeded("context deadline exceeded");
        for _ in 0..CLEANUP_TRIES {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            match self.seat.driver.call(request.clone(), left).await {
                Ok(_) => return Ok(()),
                Err(status) => failed = status,
            }
        }
        Err(failed)
    }
}
