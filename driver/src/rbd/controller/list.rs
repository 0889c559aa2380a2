//! ListVolumes: the journals of all pools of all clusters in the configuration file.
//!
//! A page token is a mark, then the cluster's key, the pool's id and the last name that was listed. So a listing stays
//! right while volumes come and go.

use std::sync::Arc;

use csi::v1;

use crate::check;
use crate::rbd::ceph;
use crate::rbd::config;
use crate::rbd::connections::Site;
use crate::rbd::driver::Rbd;
use crate::rbd::error;
use crate::rbd::handle::{Handle, hexadecimal};
use crate::rbd::image;
use crate::rbd::names::Kind;
use crate::rbd::plan::{self, Entry};
use crate::refusal::Refusal;

/// The most that a page has. Each volume costs some requests to Ceph.
const PAGE: usize = 500;
/// What a token begins with.
const MARK: &str = "@";

/// Where a listing goes on: after this name, in this pool of this cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Mark {
    cluster: String,
    pool: i64,
    name: String,
}

impl Mark {
    fn token(&self) -> String {
        let Self { cluster, pool, name } = self;
        format!("{MARK}{:04x}{cluster}{pool:016x}{name}", cluster.len())
    }

    fn parse(token: &str) -> Option<Self> {
        let rest = token.strip_prefix(MARK)?;
        let (length, rest) = (hexadecimal(rest.get(..4)?)?, rest.get(4..)?);
        let length = usize::try_from(length).ok()?;
        let (cluster, rest) = (rest.get(..length)?, rest.get(length..)?);
        let (pool, name) = (hexadecimal(rest.get(..16)?)?, rest.get(16..)?);
        Some(Self { cluster: cluster.to_owned(), pool: i64::try_from(pool).ok()?, name: name.to_owned() })
    }
}

impl Rbd {
    /// The volumes that the journals know and that have their images.
    ///
    /// # Errors
    /// UNIMPLEMENTED without `--ceph-secret-folder`; ABORTED for a token of another driver; UNAVAILABLE when Ceph does not
    /// answer: a listing without a cluster's volumes would say that they are gone.
    pub(crate) fn list_volumes(
        &self,
        request: v1::ListVolumesRequest,
    ) -> Result<v1::ListVolumesResponse, Refusal> {
        let who = self.own_credentials("ListVolumes")?;
        let limit = check::max_entries(request.max_entries)?.map_or(PAGE, |asked| asked.min(PAGE));
        let from = match request.starting_token.as_str() {
            "" => None,
            token => Some(
                Mark::parse(token)
                    .ok_or_else(|| Refusal::BadToken(token.chars().take(check::MAX_STRING).collect()))?,
            ),
        };
        let _call = self.calls.take()?;
        let mut clusters = config::read(&self.options.config)?;
        clusters.sort_by(|one, other| one.id.cmp(&other.id));
        let mut entries = Vec::new();
        for cluster in clusters {
            if from.as_ref().is_some_and(|from| cluster.id < from.cluster) || cluster.monitors.is_empty() {
                continue;
            }
            let from = from.as_ref().filter(|from| from.cluster == cluster.id);
            let site = self.connections.site(cluster, who.clone())?;
            if let Some(next) = self.list_cluster(&site, from, limit, &mut entries)? {
                return Ok(v1::ListVolumesResponse { entries, next_token: next.token() });
            }
        }
        Ok(v1::ListVolumesResponse { entries, next_token: String::new() })
    }

    /// Adds a cluster's volumes until there are `limit`; gives where to go on if there may be more.
    fn list_cluster(
        &self,
        site: &Site,
        from: Option<&Mark>,
        limit: usize,
        entries: &mut Vec<v1::list_volumes_response::Entry>,
    ) -> Result<Option<Mark>, Refusal> {
        for pool in pools(site)? {
            if from.is_some_and(|from| pool < from.pool) {
                continue;
            }
            let mut name =
                from.filter(|from| from.pool == pool).map_or(String::new(), |from| from.name.clone());
            let Some(opened) = site.pool(pool)? else { continue };
            let journal = self.journal(opened, Kind::Volume);
            loop {
                if entries.len() >= limit {
                    return Ok(Some(Mark { cluster: site.config.id.clone(), pool, name }));
                }
                let room = u64::try_from(limit - entries.len()).unwrap_or(0);
                let page = match journal.page(&name, room) {
                    // A pool that our user may not read has nothing of ours.
                    Err(Refusal::Denied { .. }) => break,
                    page => page?,
                };
                for entry in &page.entries {
                    entries.extend(self.listed(site, &journal.pool, entry)?);
                }
                match page.last {
                    Some(last) => name = last,
                    None => break,
                }
            }
        }
        Ok(None)
    }

    /// One volume; none if it is half-made or half-removed.
    fn listed(
        &self,
        site: &Site,
        directory: &Arc<ceph::Pool>,
        entry: &Entry,
    ) -> Result<Option<v1::list_volumes_response::Entry>, Refusal> {
        let pool = match entry.pool.filter(|pool| *pool != directory.id) {
            None => Arc::clone(directory),
            Some(id) => match site.pool(id)? {
                None => return Ok(None),
                Some(pool) => pool,
            },
        };
        let Some(attributes) = self.journal(Arc::clone(&pool), Kind::Volume).attributes(&entry.uuid)? else {
            return Ok(None);
        };
        // What is not recorded as whole may be undone; nobody was told of it yet.
        if !plan::is_made(&attributes) {
            return Ok(None);
        }
        let Some(image) = image::look(&pool, &attributes.image)? else { return Ok(None) };
        let failed = || error::ceph(format!("cannot look at image {:?}", attributes.image));
        let size = image.size().map_err(failed())?;
        let Some(id) = Handle::new(&site.config.id, pool.id, entry.uuid.clone()) else { return Ok(None) };
        let volume = v1::Volume {
            capacity_bytes: i64::try_from(size).unwrap_or(i64::MAX),
            volume_id: id.to_string(),
            ..v1::Volume::default()
        };
        Ok(Some(v1::list_volumes_response::Entry { volume: Some(volume), status: None }))
    }
}

/// The ids of a cluster's pools, in order.
pub(super) fn pools(site: &Site) -> Result<Vec<i64>, Refusal> {
    let failed = || error::ceph("cannot list the pools");
    let mut ids = Vec::new();
    for name in site.cluster.pool_names().map_err(failed())? {
        // It may have gone since.
        ids.extend(ceph::found(site.cluster.pool_id(&name)).map_err(failed())?);
    }
    ids.sort_unstable();
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_where_to_go_on() {
        for (cluster, pool, name) in [("rook-ceph", 2, "pvc-1"), ("", 0, ""), ("a@b", i64::MAX, "ü @0001")] {
            let mark = Mark { cluster: cluster.to_owned(), pool, name: name.to_owned() };
            assert_eq!(Mark::parse(&mark.token()), Some(mark));
        }
        for token in ["invalid-token", "@", "@0001", "@ffffx", "@0000zzzzzzzzzzzzzzzz"] {
            assert_eq!(Mark::parse(token), None, "{token}");
        }
    }
}
