//! GetCapacity: what the monitors' `df` says.

use csi::v1;
use serde::Deserialize;

use crate::check;
use crate::rbd::config;
use crate::rbd::driver::Rbd;
use crate::rbd::error;
use crate::refusal::Refusal;

/// The part of the answer that is used.
#[derive(Debug, Deserialize)]
struct Df {
    stats: Total,
    #[serde(default)]
    pools: Vec<Pool>,
}

#[derive(Debug, Deserialize)]
struct Total {
    total_bytes: u64,
    total_avail_bytes: u64,
}

#[derive(Debug, Deserialize)]
struct Pool {
    name: String,
    stats: PoolStats,
}

#[derive(Debug, Deserialize)]
struct PoolStats {
    max_avail: u64,
}

/// What can still be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// So many bytes.
    Bytes(u64),
    /// No manager daemon has told the monitors yet.
    Unknown,
    /// There is no such pool.
    NoPool,
}

/// Reads an answer, about one pool or about the whole cluster.
fn left(answer: &[u8], pool: Option<&str>) -> Result<Left, serde_json::Error> {
    let df: Df = serde_json::from_slice(answer)?;
    if df.stats.total_bytes == 0 {
        return Ok(Left::Unknown);
    }
    let Some(name) = pool else { return Ok(Left::Bytes(df.stats.total_avail_bytes)) };
    let found = df.pools.iter().find(|pool| pool.name == name);
    Ok(found.map_or(Left::NoPool, |pool| Left::Bytes(pool.stats.max_avail)))
}

impl Rbd {
    /// What a pool can still store, with its copies counted; without a class, what all clusters can.
    ///
    /// # Errors
    /// UNIMPLEMENTED without `--ceph-secret-folder`; INVALID_ARGUMENT for a bad class; UNAVAILABLE when Ceph does not answer
    /// or has no manager daemon: only that one counts.
    pub(crate) fn capacity(
        &self,
        request: v1::GetCapacityRequest,
    ) -> Result<v1::GetCapacityResponse, Refusal> {
        let who = self.own_credentials("GetCapacity")?;
        check::map("parameters", &request.parameters)?;
        for capability in &request.volume_capabilities {
            check::capability("volume_capabilities", capability)?;
        }
        let _call = self.calls.take()?;
        let given = |name: &str| request.parameters.get(name).filter(|value| !value.is_empty());
        let path = &self.options.config;
        let (clusters, pool) = match (given("clusterID"), given("dataPool").or_else(|| given("pool"))) {
            (Some(cluster), pool) => (vec![config::cluster(path, cluster)?], pool),
            (None, None) => (config::read(path)?, None),
            (None, Some(_)) => {
                return Err(Refusal::invalid("parameters", "clusterID is missing in the class"));
            }
        };
        let mut sum = 0_u64;
        for cluster in clusters {
            let id = cluster.id.clone();
            let site = self.connections.site(cluster, who.clone())?;
            let what = || format!("cannot learn what is left in cluster {id:?}");
            let answer =
                site.cluster.ask(r#"{"prefix":"df","format":"json"}"#).map_err(error::ceph(what()))?;
            let unreadable =
                |error: serde_json::Error| Refusal::System { what: what(), source: error.into() };
            match left(&answer, pool.map(String::as_str)).map_err(unreadable)? {
                Left::Bytes(bytes) => sum = sum.saturating_add(bytes),
                Left::NoPool => {
                    return Err(Refusal::invalid(
                        "parameters",
                        format!("pool {pool:?} is not in cluster {id:?}"),
                    ));
                }
                Left::Unknown => {
                    let source = std::io::Error::other("no manager daemon (ceph-mgr) counts it");
                    return Err(Refusal::Outage { what: what(), source });
                }
            }
        }
        Ok(v1::GetCapacityResponse {
            available_capacity: i64::try_from(sum).unwrap_or(i64::MAX),
            maximum_volume_size: None,
            minimum_volume_size: Some(1 << 20),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_the_pools_or_the_clusters() {
        let answer = br#"{"stats":{"total_bytes":300,"total_avail_bytes":200,"total_used_bytes":100},
            "stats_by_class":{},"pools":[{"name":"rbd","id":2,"stats":{"stored":1,"max_avail":66,"bytes_used":3}}]}"#;
        let none = br#"{"stats":{"total_bytes":0,"total_avail_bytes":0},"pools":[{"name":"rbd","stats":{"max_avail":0}}]}"#;
        for (answer, pool, expected) in [
            (&answer[..], None, Left::Bytes(200)),
            (answer, Some("rbd"), Left::Bytes(66)),
            (answer, Some("other"), Left::NoPool),
            (none, Some("rbd"), Left::Unknown),
            (none, None, Left::Unknown),
        ] {
            assert_eq!(left(answer, pool).unwrap(), expected, "{pool:?}");
        }
        assert!(left(b"{}", None).is_err());
    }
}
