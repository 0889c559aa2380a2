//! Times in which the API server does not answer.

use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{ApiServer, Outage};

impl ApiServer {
    /// From now on, and for this long, the API server does not answer.
    pub fn outage(&self, how: Outage, length: Duration) {
        self.state().outage = Some((how, Instant::now() + length));
        if how == Outage::Refused {
            self.break_watches();
        }
    }

    /// Passes when the API server answers; the error of a request that it refuses now.
    pub(super) async fn pass_outage(&self) -> Result<(), io::Error> {
        loop {
            let outage = self.state().outage;
            match outage.filter(|(_, end)| Instant::now() < *end) {
                None => return Ok(()),
                Some((Outage::Refused, _)) => {
                    return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused"));
                }
                Some((Outage::Hanging, end)) => sleep_until(end).await,
            }
        }
    }
}
