//! The order of the functions in an executable: those that run come first, side by side.
//!
//! The kernel reads an executable in pieces of 64 KiB, and counts each as memory of the process. Of the ten megabytes of
//! functions a sidecar runs a third, but the linker scatters them over all pieces. The list `ran.txt` has the functions that
//! ran in a training (`train`). A function is known by a number made of its name, without what the compiler adds to it in
//! each build; one that the list does not know, because it is new or was renamed, stands behind the others until the next
//! training, which costs a few bytes of memory and nothing else.

use std::collections::HashMap;

/// The functions that ran, by number, and the group of each.
#[derive(Debug)]
pub(super) struct Ran(HashMap<u64, usize>);

impl Ran {
    /// Reads a list: a number a line; a line that begins with `#` begins a group.
    pub(super) fn read(list: &str) -> Self {
        let (mut group, mut ran) = (0, HashMap::new());
        for line in list.lines() {
            if line.starts_with('#') {
                group += 1;
            } else if let Ok(number) = u64::from_str_radix(line.trim(), 16) {
                ran.insert(number, group);
            }
        }
        Self(ran)
    }

    /// Those of `symbols` that ran: group by group, and in each by name, so that what belongs together stands together and a process
    /// that is one sidecar only reads the pieces of that one.
    pub(super) fn order<'a>(&self, symbols: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
        let place = |symbol: &'a str| {
            let name = name(symbol);
            Some((*self.0.get(&number(&name))?, name, symbol))
        };
        let mut placed: Vec<_> = symbols.filter_map(place).collect();
        placed.sort_unstable();
        placed.dedup();
        placed.into_iter().map(|(.., symbol)| symbol).collect()
    }
}

/// The list of what ran: `groups` one after the other, each function where it is met first. Within a group they are sorted, so that
/// the same functions make the same list.
pub(super) fn list(groups: &[(&str, Vec<String>)]) -> String {
    let mut text = String::from(
        "# The functions that ran in a training, each by a number made of its name (order.rs says how). Made by `cargo xtask order`.\n",
    );
    let mut known = std::collections::HashSet::new();
    for (what, symbols) in groups {
        let mut numbers: Vec<u64> = symbols.iter().map(|symbol| number(&name(symbol))).collect();
        numbers.sort_unstable();
        numbers.retain(|number| known.insert(*number));
        text.push_str(&format!("# {what}: {}\n", numbers.len()));
        numbers.iter().for_each(|number| text.push_str(&format!("{number:012x}\n")));
    }
    text
}

/// The readable name of a function, the same in each build.
fn name(symbol: &str) -> String {
    // The optimizer adds `.llvm.` and a number to what it makes local.
    let symbol = symbol.split(".llvm.").next().unwrap_or(symbol);
    // `{:#}` leaves the hashes out, which are others in each build.
    format!("{:#}", rustc_demangle::demangle(symbol))
}

/// The number of a name: 48 bits of its FNV-1a.
fn number(name: &str) -> u64 {
    let whole = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    whole >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: &str = "_RNvNtCs4Y4d5Skw60T_4base5queue4turn";
    /// The same function in another build.
    const TURN_AGAIN: &str = "_RNvNtCsgHt2xPq8sM0_4base5queue4turn.llvm.1234567";

    #[test]
    fn what_ran_stands_first_in_another_build_too() {
        let list = list(&[
            ("while it waits", vec![TURN.to_owned()]),
            ("at work", vec!["strlen".to_owned(), "memcpy".to_owned(), TURN.to_owned()]),
        ]);
        let order =
            Ran::read(&list).order(["strlen", "memcpy", "_RNvCs1_4base5other", TURN_AGAIN].into_iter());
        assert_eq!(order, [TURN_AGAIN, "memcpy", "strlen"]);
    }

    #[test]
    fn a_list_has_each_function_once_and_its_groups_in_order() {
        let list =
            list(&[("a", vec!["x".to_owned(), "x".to_owned()]), ("b", vec!["x".to_owned(), "y".to_owned()])]);
        let lines: Vec<&str> = list.lines().skip(1).collect();
        assert_eq!(
            lines,
            ["# a: 1", &format!("{:012x}", number("x")), "# b: 1", &format!("{:012x}", number("y"))]
        );
    }

    #[test]
    fn an_empty_list_orders_nothing() {
        assert!(Ran::read("# nothing\n").order(["memcpy"].into_iter()).is_empty());
    }
}
