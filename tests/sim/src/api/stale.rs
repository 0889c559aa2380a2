//! Lists that do not show what there is.

use super::{ApiServer, key_of};

impl ApiServer {
    /// From now on lists leave this object out, or not: a cache loses it as from an API server that lags behind.
    pub fn leave_out(&self, plural: &str, name: &str, out: bool) {
        self.state().store.leave_out(key_of(plural, name), out);
    }
}
