//! Every fuzz target on stable, with random inputs from a seed; and cargo-fuzz knows the same targets.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fastrand::Rng;
use inputs::{TARGETS, Target, random};
use sim::{SEEDS, seeds};

/// Runs a target with the inputs of these seeds. The work queues of our sidecars survive a panic; here it counts.
fn run(target: &Target, panics: &AtomicUsize) -> String {
    let good = (target.seeds)();
    for input in &good {
        (target.body)(input);
    }
    let tried = seeds(1);
    for seed in tried.clone() {
        let mut rng = Rng::with_seed(seed);
        for number in 0..target.tries {
            let input = random::input(&mut rng, &good);
            let ended = std::panic::catch_unwind(|| (target.body)(&input));
            let name = target.name;
            assert!(
                ended.is_ok() && panics.load(Ordering::Relaxed) == 0,
                "{name}: input {number} of {SEEDS}={seed}..{}: {}",
                seed + 1,
                input.escape_ascii()
            );
        }
    }
    format!(
        "{}: {} inputs",
        target.name,
        good.len() as u64 + u64::from(target.tries) * (tried.end - tried.start)
    )
}

#[test]
fn no_parser_panics_whatever_it_is_given() {
    let panics = Arc::new(AtomicUsize::new(0));
    let (counted, usual) = (panics.clone(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        counted.fetch_add(1, Ordering::Relaxed);
        usual(panic);
    }));
    for target in TARGETS {
        println!("{}", run(target, &panics));
    }
}

#[test]
fn cargo_fuzz_knows_every_target() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz");
    let manifest = std::fs::read_to_string(format!("{folder}/Cargo.toml")).expect("a manifest");
    let mut bins = String::new();
    for Target { name, .. } in TARGETS {
        let file = format!("fuzz_targets/{name}.rs");
        let code = std::fs::read_to_string(format!("{folder}/{file}")).expect(name);
        assert!(code.contains(&format!("inputs::{name}(data)")), "{file}");
        let _ = write!(
            bins,
            "\n[[bin]]\nname = \"{name}\"\npath = \"{file}\"\ntest = false\ndoc = false\nbench = false\n"
        );
    }
    let found = manifest.split_once("\n[[bin]]").map(|(_, rest)| format!("\n[[bin]]{rest}"));
    assert_eq!(found.as_deref(), Some(bins.as_str()));
}
