//! Cutting long chains of clones: an image that has got everything from its parent has none any more.
//!
//! Reading an image goes through its whole chain, and the kernel's client allows 16 links. ceph-csi leaves the work to the
//! manager daemon; ours does it in the background, and begins anew with the next call if the process ends.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::rbd::ceph::{Image, Pool};
use crate::rbd::error;
use crate::rbd::image;
use crate::refusal::Refusal;

/// How many images are copied at once.
const JOBS: usize = 2;
/// No chain is followed further.
const END: usize = 64;

/// What is being cut.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flattening(Arc<Mutex<HashSet<(i64, String)>>>);

/// What to do about a chain that is `depth` links long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Short,
    /// Cut it beside the call.
    Long,
    /// Cut it before anything is added to it.
    TooLong,
}

/// Decides about a chain.
pub(crate) fn judge(depth: usize, soft: usize, hard: usize) -> Verdict {
    if depth >= hard {
        Verdict::TooLong
    } else if depth >= soft {
        Verdict::Long
    } else {
        Verdict::Short
    }
}

/// How many parents an image has above it.
///
/// # Errors
/// Ceph's.
pub(crate) fn depth(pool: &Arc<Pool>, name: &str) -> Result<usize, Refusal> {
    let failed = || error::ceph(format!("cannot follow the parents of image {name:?}"));
    let (mut pool, mut depth) = (Arc::clone(pool), 0);
    let mut next = image::look(&pool, name)?;
    while let Some(image) = next.take().filter(|_| depth < END) {
        let Some(parent) = image.parent().map_err(failed())? else { break };
        depth += 1;
        pool = Arc::new(pool.sibling(parent.pool, &parent.namespace).map_err(failed())?);
        // A parent in the trash is opened by its id.
        next = Some(Image::look_by_id(&pool, &parent.id).map_err(failed())?);
    }
    Ok(depth)
}

impl Flattening {
    /// Begins to cut an image off its parent, unless that is being done or enough others are. It never waits.
    pub(crate) fn begin(&self, pool: &Arc<Pool>, name: &str) {
        let key = (pool.id, name.to_owned());
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if jobs.len() >= JOBS || !jobs.insert(key.clone()) {
            return;
        }
        drop(jobs);
        let (this, pool, id) = (self.clone(), Arc::clone(pool), pool.id);
        let work = move || {
            let outcome = Image::open(&pool, &key.1).and_then(|image| image.flatten());
            match outcome {
                Ok(()) => base::info!("An image has no parent any more"; "image" => key.1),
                Err(error) => base::error!(error, "Cannot cut an image off its parent yet"; "image" => key.1),
            }
            this.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        };
        if let Err(error) = std::thread::Builder::new().name("flatten".to_owned()).spawn(work) {
            base::error!(error, "Cannot start a thread to cut an image off its parent"; "image" => name);
            self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(id, name.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_cut_beside_the_call_or_before_it() {
        for (depth, expected) in [
            (0, Verdict::Short),
            (3, Verdict::Short),
            (4, Verdict::Long),
            (7, Verdict::Long),
            (8, Verdict::TooLong),
            (9, Verdict::TooLong),
        ] {
            assert_eq!(judge(depth, 4, 8), expected, "{depth}");
        }
    }
}
