//! Decides to what size a volume is grown (docs/upstream/resizer.md, "Target").

use base::quantity::Quantity;
use kubernetes::object::annotation::PRE_RESIZE_CAPACITY;
use kubernetes::object::{Claim, ConditionKind, ResizeState, Volume};

use super::patch::is_refusal;
use crate::config::Expansion;

/// What a claim and its volume say about the size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    /// How far the last growth has come.
    pub(crate) state: Option<ResizeState>,
    /// What the claim requests.
    pub(crate) requested: Quantity,
    /// What the claim has.
    pub(crate) granted: Quantity,
    /// To what size the last growth is or was going.
    pub(crate) allocated: Option<Quantity>,
    /// The volume's size.
    pub(crate) volume: Quantity,
    /// Condition FileSystemResizePending: the node has still to expand the file system.
    pub(crate) waits_for_node: bool,
    /// The driver's last answer about the allocated size was final, so nothing is under way.
    pub(crate) refused: bool,
}

/// What to do about the size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The claim has what it requests.
    Nothing,
    /// The node has to go on.
    WaitForNode,
    /// Grow the volume to this size.
    Grow(Quantity),
}

impl View {
    /// `may_run` is what this process knows of its last call. If it has sent none, the status tells, if we have written it: a final
    /// error leaves the state as it was and condition ControllerResizeError behind, and the next call removes that condition.
    ///
    /// `Differs:` upstream forgets a final error with a restart, and then first finishes the larger size although the user
    /// asks for a smaller one by now.
    pub(crate) fn new(claim: &Claim, volume: &Volume, may_run: Option<bool>) -> Option<Self> {
        let (status, size) = (claim.status.as_ref()?, volume.size.as_ref()?);
        Some(Self {
            state: status.state,
            requested: quantity_or_zero(&claim.request),
            granted: quantity_or_zero(&status.capacity),
            allocated: status.allocated.as_deref().map(quantity_or_zero),
            volume: quantity_or_zero(&size.capacity),
            waits_for_node: status.has(ConditionKind::FileSystemResizePending),
            refused: may_run.map_or_else(|| is_refusal(status), |may_run| !may_run),
        })
    }

    /// Whether nothing is under way because the driver has refused.
    pub(crate) fn says_refused(&self) -> bool {
        self.refused || self.state == Some(ResizeState::ControllerResizeInfeasible)
    }

    /// Whether the driver said before that it cannot do this size.
    pub(crate) fn is_infeasible(&self, target: Quantity) -> bool {
        self.state == Some(ResizeState::ControllerResizeInfeasible) && self.allocated == Some(target)
    }
}

/// A size of the API server's. What is not set, or is none, counts as zero.
fn quantity_or_zero(text: &str) -> Quantity {
    Quantity::parse(text).unwrap_or_else(|_| Quantity::from_bytes(0))
}

/// Whether the volume has the size that the claim requests. Its file system may still be smaller.
enum VolumeSize {
    TooSmall,
    LargeEnough,
}

/// The next step. A growth that may be under way is finished before another size is asked for, so that a user cannot get
/// a larger volume than the quota was charged for.
pub(crate) fn decide(view: &View, expansion: Expansion) -> Step {
    use ResizeState::*;
    use Step::*;
    use VolumeSize::*;
    if view.requested <= view.granted {
        return Nothing;
    }
    let requested = view.requested;
    let allocated = view.allocated.unwrap_or(requested);
    let volume = if view.volume < requested { TooSmall } else { LargeEnough };
    match (view.state, volume) {
        (None, TooSmall) => Grow(requested),
        (None, LargeEnough) if view.allocated.is_some() => Grow(allocated),
        (None, LargeEnough) if view.waits_for_node => WaitForNode,
        (None, LargeEnough) => Grow(requested),

        (Some(ControllerResizeInProgress), TooSmall) if view.refused => Grow(requested),
        (Some(ControllerResizeInProgress), TooSmall | LargeEnough) => Grow(allocated),

        (Some(ControllerResizeInfeasible), TooSmall) => Grow(requested),
        (Some(ControllerResizeInfeasible), LargeEnough) => Grow(allocated),

        (Some(NodeResizePending | NodeResizeInProgress), TooSmall) if view.volume < allocated => {
            Grow(allocated)
        }
        (Some(NodeResizePending | NodeResizeInProgress), TooSmall | LargeEnough) => WaitForNode,

        (Some(NodeResizeInfeasible), TooSmall) => Grow(allocated),
        (Some(NodeResizeInfeasible), LargeEnough) => match expansion {
            Expansion::Controller => Grow(allocated),
            Expansion::Node => Grow(requested),
        },
    }
}

/// Whether the claim requests more than it has.
pub(crate) fn asks_for_more(claim: &Claim) -> bool {
    claim
        .status
        .as_ref()
        .is_some_and(|status| quantity_or_zero(&claim.request) > quantity_or_zero(&status.capacity))
}

/// Whether the node has finished, and the volume still has annotation pre-resize-capacity.
///
/// `Differs:` upstream leaves it if the gate AnnotateFsResize is off.
pub(crate) fn has_stale_annotation(claim: &Claim, volume: &Volume) -> bool {
    let Some(view) = View::new(claim, volume, None) else { return false };
    volume.meta.annotations.get(PRE_RESIZE_CAPACITY).is_some() && view.granted >= view.volume
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{claim, volume};
    use ResizeState::*;
    use Step::*;
    use serde_json::json;

    fn gi(number: i64) -> Quantity {
        Quantity::from_bytes(number << 30)
    }

    /// A claim that has 1 Gi and requests 3 Gi.
    fn view(state: Option<ResizeState>, allocated: Option<i64>, volume: i64) -> View {
        View {
            state,
            requested: gi(3),
            granted: gi(1),
            allocated: allocated.map(gi),
            volume: gi(volume),
            waits_for_node: false,
            refused: false,
        }
    }

    fn step(view: View) -> Step {
        decide(&view, Expansion::Controller)
    }

    /// docs/upstream/resizer.md, "Target": each row, with the allocated size and without.
    #[test]
    fn each_state_leads_to_its_size() {
        for (state, allocated, volume, expected) in [
            (None, None, 1, Grow(gi(3))),
            (None, Some(5), 1, Grow(gi(3))),
            (None, Some(5), 5, Grow(gi(5))),
            (None, Some(2), 3, Grow(gi(2))),
            (None, None, 3, Grow(gi(3))),
            (Some(ControllerResizeInProgress), Some(5), 1, Grow(gi(5))),
            (Some(ControllerResizeInProgress), Some(2), 1, Grow(gi(2))),
            (Some(ControllerResizeInProgress), None, 1, Grow(gi(3))),
            (Some(ControllerResizeInProgress), Some(5), 5, Grow(gi(5))),
            (Some(ControllerResizeInProgress), None, 3, Grow(gi(3))),
            (Some(ControllerResizeInfeasible), Some(5), 1, Grow(gi(3))),
            (Some(ControllerResizeInfeasible), None, 1, Grow(gi(3))),
            (Some(ControllerResizeInfeasible), Some(5), 3, Grow(gi(5))),
            (Some(ControllerResizeInfeasible), None, 3, Grow(gi(3))),
            (Some(NodeResizePending), Some(2), 2, WaitForNode),
            (Some(NodeResizePending), Some(2), 1, Grow(gi(2))),
            (Some(NodeResizePending), None, 1, Grow(gi(3))),
            (Some(NodeResizePending), Some(5), 5, WaitForNode),
            (Some(NodeResizePending), Some(5), 4, WaitForNode),
            (Some(NodeResizeInProgress), Some(2), 2, WaitForNode),
            (Some(NodeResizeInProgress), Some(2), 1, Grow(gi(2))),
            (Some(NodeResizeInProgress), None, 3, WaitForNode),
            (Some(NodeResizeInfeasible), Some(2), 2, Grow(gi(2))),
            (Some(NodeResizeInfeasible), None, 2, Grow(gi(3))),
            (Some(NodeResizeInfeasible), Some(5), 5, Grow(gi(5))),
            (Some(NodeResizeInfeasible), None, 3, Grow(gi(3))),
        ] {
            let found = step(view(state, allocated, volume));
            assert_eq!(found, expected, "{state:?}, allocated {allocated:?}, volume {volume}");
        }
    }

    #[test]
    fn without_controller_an_infeasible_node_gets_the_request() {
        let infeasible = view(Some(NodeResizeInfeasible), Some(5), 5);
        assert_eq!(decide(&infeasible, Expansion::Node), Grow(gi(3)));
        let too_small = view(Some(NodeResizeInfeasible), Some(2), 2);
        assert_eq!(decide(&too_small, Expansion::Node), Grow(gi(2)));
    }

    #[test]
    fn after_a_final_error_a_smaller_size_may_be_asked_for() {
        for (state, volume, expected) in [
            (ControllerResizeInProgress, 1, gi(3)),
            (ControllerResizeInProgress, 5, gi(5)),
            (ControllerResizeInfeasible, 1, gi(3)),
        ] {
            let refused = View { refused: true, ..view(Some(state), Some(5), volume) };
            assert_eq!(step(refused), Grow(expected), "{state:?} {volume}");
        }
    }

    #[test]
    fn file_system_that_waits_for_its_node_is_left_to_it() {
        let waits = |allocated, volume| View { waits_for_node: true, ..view(None, allocated, volume) };
        assert_eq!(step(waits(None, 3)), WaitForNode);
        assert_eq!(step(waits(Some(3), 3)), Grow(gi(3)));
        assert_eq!(step(waits(None, 2)), Grow(gi(3)), "the claim was increased meanwhile");
    }

    #[test]
    fn claim_that_has_what_it_requests_is_left_alone() {
        for state in [None, Some(ControllerResizeInProgress), Some(ControllerResizeInfeasible)] {
            for granted in [3, 4] {
                let enough = View { granted: gi(granted), ..view(state, Some(5), 1) };
                assert_eq!(step(enough), Nothing, "{state:?} {granted}");
            }
        }
    }

    #[test]
    fn status_tells_of_a_final_error_if_the_process_knows_none() {
        let condition = json!([{"type": "ControllerResizeError", "status": "True", "reason": "Refused"}]);
        let states = json!({"storage": "ControllerResizeInProgress"});
        let failed = claim(json!({"status": {"conditions": condition, "allocatedResourceStatuses": states}}));
        let plain = claim(json!({"status": {"allocatedResourceStatuses": states}}));
        let upstream_s = json!([{"type": "ControllerResizeError", "status": "True"}]);
        let upstream_s =
            claim(json!({"status": {"conditions": upstream_s, "allocatedResourceStatuses": states}}));
        for (claim, known, expected) in [
            (&failed, None, true),
            (&failed, Some(true), false),
            (&failed, Some(false), true),
            (&plain, None, false),
            (&plain, Some(false), true),
            (&upstream_s, None, false),
        ] {
            assert_eq!(View::new(claim, &volume(json!({})), known).unwrap().refused, expected, "{known:?}");
        }
    }

    #[test]
    fn refused_and_infeasible_growths_are_not_under_way() {
        for (state, refused, expected) in [
            (None, false, false),
            (Some(ControllerResizeInProgress), false, false),
            (Some(ControllerResizeInProgress), true, true),
            (Some(ControllerResizeInfeasible), false, true),
            (Some(ControllerResizeInfeasible), true, true),
            (Some(NodeResizeInfeasible), false, false),
        ] {
            let view = View { refused, ..view(state, Some(5), 1) };
            assert_eq!(view.says_refused(), expected, "{state:?}, refused {refused}");
        }
    }

    #[test]
    fn only_the_allocated_size_is_infeasible() {
        let infeasible = view(Some(ControllerResizeInfeasible), Some(3), 1);
        assert!(infeasible.is_infeasible(gi(3)) && !infeasible.is_infeasible(gi(2)));
        assert!(!view(Some(ControllerResizeInProgress), Some(3), 1).is_infeasible(gi(3)));
    }

    #[test]
    fn sizes_are_compared_as_numbers() {
        for (requested, expected) in
            [("1Gi", false), ("1024Mi", false), ("512Mi", false), ("1025Mi", true), ("2G", true)]
        {
            let claim = claim(json!({"spec": {"resources": {"requests": {"storage": requested}}}}));
            assert_eq!(asks_for_more(&claim), expected, "{requested}");
        }
    }

    #[test]
    fn former_size_is_forgotten_once_the_claim_has_the_new_one() {
        let remembers = json!({"metadata": {"annotations": {PRE_RESIZE_CAPACITY: "1Gi"}}, "spec": {"capacity": {"storage": "2Gi"}}});
        let has = |size: &str| claim(json!({"status": {"capacity": {"storage": size}}}));
        for (size, expected) in [("1Gi", false), ("2Gi", true), ("3Gi", true)] {
            assert_eq!(has_stale_annotation(&has(size), &volume(remembers.clone())), expected, "{size}");
        }
        assert!(!has_stale_annotation(&has("2Gi"), &volume(json!({}))), "there is no annotation");
    }
}
