//! The process's capabilities: it keeps those that its calls need, and gives the others back.
//!
//! A container whose mounts are to reach the node must be privileged, and a privileged container has every capability, whatever
//! its pod says. So this is for the driver itself to do.
//!
//! Differs: the Go driver keeps every capability that its container has.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set, set_capabilities,
};

/// Mounts, loop devices and `trusted.*` attributes; device nodes; what belongs to other users; file capabilities; and the blocks
/// that a file system reserves, so that a full disk can still be told apart and emptied.
const NEEDED: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SYS_RESOURCE);

/// Gives back what is not needed, for this thread and those that it starts: to be called before there are any. Programs that are
/// run do not get it again either.
///
/// # Errors
/// The system's.
pub fn give_back() -> io::Result<()> {
    let CapabilitySets { effective, permitted, .. } = capabilities(None)?;
    let others = permitted.difference(NEEDED).bits();
    for bit in (0..u64::BITS).map(|number| 1 << number).filter(|bit| others & bit != 0) {
        // Only who has SETPCAP may; who has not runs nothing that would have more than itself.
        let _ = remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(bit));
    }
    set_capabilities(
        None,
        CapabilitySets {
            effective: effective.intersection(NEEDED),
            permitted: permitted.intersection(NEEDED),
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_what_is_needed_is_left() {
        // Capabilities are a thread's own.
        let after = std::thread::spawn(|| {
            give_back().expect("given back");
            let before = std::fs::read_to_string("/proc/thread-self/status").expect("status");
            (capabilities(None).expect("read"), before)
        });
        let (sets, status) = after.join().expect("no panic");
        assert!(NEEDED.contains(sets.permitted) && NEEDED.contains(sets.effective), "{sets:?}");
        assert_eq!(sets.inheritable, CapabilitySet::empty());
        if rustix::process::geteuid().is_root() && sets.effective.contains(CapabilitySet::SYS_ADMIN) {
            let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).expect("a line");
            let bounding = u64::from_str_radix(bounding.trim(), 16).expect("hexadecimal");
            assert!(NEEDED.contains(CapabilitySet::from_bits_retain(bounding)), "{bounding:x}");
        }
    }
}
