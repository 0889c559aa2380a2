//! The configuration file of a cluster of one monitor and one OSD.

use std::path::Path;

/// The file's name in the cluster's folder.
pub(super) const CONFIGURATION: &str = "ceph.conf";

/// The pool for images.
pub const POOL: &str = "rbd";

/// The file's text. Everything that a daemon writes is in `folder`.
pub(super) fn configuration(folder: &Path, fsid: &str, monitor: &str) -> String {
    let at = folder.display();
    format!(
        "[global]
fsid = {fsid}
mon_host = {monitor}
ms_bind_msgr1 = false
ms_bind_msgr2 = true
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
keyring = {at}/keyring
run_dir = {at}
pid_file = {at}/$type.pid
admin_socket =
log_file = {at}/$type.log
mon_cluster_log_file = {at}/cluster.log
crash_dir = {at}/crash
mon_data = {at}/mon
osd_data = {at}/osd
auth_allow_insecure_global_id_reclaim = false
# One OSD has every copy.
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
osd_crush_update_on_start = false
mon_allow_pool_size_one = true
# A monitor ends at once where less than 5 % of the disk is free, which may be many gigabytes.
mon_data_avail_crit = 0
mon_data_avail_warn = 0
mon_warn_on_pool_no_redundancy = false
# A sparse file.
osd_objectstore = bluestore
bluestore_block_size = 17179869184
osd_memory_target = 939524096
# The images of a client that was killed are free again in seconds.
osd_client_watch_timeout = 5
# An OSD without others has nobody who confirms its lease to read. If it is stopped for longer than the lease (0.8 of this, else
# 16 s) and let go on, requests may wait for a new lease for ever.
osd_heartbeat_grace = 3600
# An OSD that comes to a watch after its client's connection has ended notes the watcher and sets no timer. It does so when
# it next reads the object from disk (PrimaryLogPG's do_osd_op_effects, populate_obc_watchers): with 64 kept for each placement
# group, the default, and few images, that is never, and the image of a killed client stays in use.
osd_pg_object_context_cache_count = 1
# Each snapshot is made and removed by the monitor, which would let changes wait for a second.
paxos_propose_interval = 0.05
paxos_min_wait = 0.01
# What only snapshots held is removed at once.
osd_snap_trim_sleep_hdd = 0
osd_snap_trim_sleep_ssd = 0
"
    )
}
