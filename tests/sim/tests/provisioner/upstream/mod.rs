//! Upstream's own tests (docs/upstream/provisioner.md, "Test cases") by name, and where ours show the same outcomes. A row here
//! is called as upstream's case.
//!
//! | Upstream | Here |
//! |---|---|
//! | TestProvision, TestShouldProvision, TestFSTypeProvision, TestCreateDriverReturnsInvalidCapacityDuringProvision | [`provision`]; the cases named "distributed" in `on_nodes.rs`; "provision with any volume data source" in `cases.rs`, "fail with selected node but node doesn't exist" in `topology/reschedule.rs` |
//! | TestProvisionErrorHandling | [`codes`] |
//! | TestGetSecretReference | [`secrets`]; those without a claim in `common/kubernetes/src/secret/tests.rs`, for a claim is always known here |
//! | TestDelete, TestDeleteVolumeErrorHandling | [`deletion`], `metrics.rs` |
//! | TestProvisionFromSnapshot, TestProvisionFromPVC, TestIsGranted, TestCloneFinalizerRemoval, snapshot sweep | `sources.rs`, `provisioner/src/claim/request/source/tests.rs` |
//! | TestProvisionWithMigration, TestDeleteMigration | `in_tree.rs`; who serves a claim in `provisioner/src/claim/eligible.rs` |
//! | TestGenerateVolumeNodeAffinity | `provisioner/src/claim/tests.rs` |
//! | TestProvisionWithTopologyEnabled, TestProvisionWithTopologyDisabled, TestTopologyParams | `topology/placed.rs` |
//! | TestStatefulSetSpreading, TestAllowedTopologies, TestTopologyAggregation, TestPreferredTopologies, TestDistinctTopologyKeySets, TestRegisteredTopologyKeys | `provisioner/src/topology/requirement/tests`, with each combination of the flags; the same rules as random claims in its `model.rs` |
//! | TestProvisionWithDeletedNodeFromCache, TestNodeTopologyLabelFallback | `topology/retries.rs` |
//! | TestTopologyTermSort, Compare, Subset | `common/csi/src/topology/tests.rs` |
//! | TestCapacityController | `capacity/objects.rs`, `capacity/refresh.rs` |
//! | TestNodeTopology | [`segments`] |
//! | TestRefresh, TestTermToSegment | `provisioner/src/capacity/item.rs`, `common/kubernetes/src/object/segment.rs` |
//! | package owner | [`owner`] |
//! | TestController, TestShouldProvision of the library | `cases.rs`, `deletion.rs`, `unsaved.rs`, `background.rs`; `provisioner/src/claim/eligible.rs` |
//! | TestShouldDelete, TestShouldDeleteWithFinalizer, TestIsProvisionerForVolume | `deletion.rs`; `provisioner/src/volume/decide.rs` |
//! | TestInfeasibleRetry | `errors.rs` |
//! | TestStripPrefixedCSIParams | `common/kubernetes/src/secret/tests.rs` |
//! | TestRateLimiter, TestGetNameWithMaxLength | `provisioner/src/node.rs` |
//! | TestGetPluginName, TestGetDriverName, TestMarkAsMigrated | `common/csi/src/tests` |
//! | TestBytesToQuantity | `common/base/src/quantity` |
//!
//! These cannot exist here:
//!
//! - "fail to make volume name": the API server gives every claim a uid. `provisioner/src/claim/name.rs` refuses one without.
//! - "nil PV" of TestDelete, nil options elsewhere: there is no null.
//! - TestHasSynced and the queue of the node topology informer: no duty begins before all caches are filled.
//! - cache_test (copies, concurrent use): what was sent is kept with the claim by the one thread that there is.
//! - TestController's "raw block refused if unsupported": csi-provisioner always supports block.
//! - TestController's cases with the finalizer turned off: since the gate `HonorPVReclaimPolicy` is gone it is always on.
//! - TestController's deletion ignored by the plug-in: only node deployment ignores a deletion ([`deletion`]).
//! - TestEnqueueClaimUpadate: its queue takes whatever may be due, and looks again before it writes (`sources.rs`).

mod codes;
mod deletion;
mod owner;
mod provision;
mod secrets;
mod segments;
