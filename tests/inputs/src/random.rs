//! Random inputs from a seed: good ones with a few bytes changed, and noise.

use fastrand::Rng;

/// Bytes that mean something in one of the formats.
const TELLING: &[u8] = b"\0\n -+=.,:/${}[]()'\"!%0179eEiIkKmMuns\xff\x80\x7f";

/// Seeds that are texts.
pub(crate) fn texts(all: &[&str]) -> Vec<Vec<u8>> {
    all.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// The next input made from `seeds`.
pub fn input(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = match rng.choice(seeds) {
        Some(seed) if rng.u8(0..10) > 0 => seed.clone(),
        _ => (0..rng.usize(0..64)).map(|_| byte(rng)).collect(),
    };
    for _ in 0..rng.usize(0..8) {
        change(rng, &mut bytes, seeds);
    }
    bytes
}

fn byte(rng: &mut Rng) -> u8 {
    if rng.bool() { rng.u8(..) } else { rng.choice(TELLING).copied().unwrap_or_default() }
}

/// One change at a random place.
fn change(rng: &mut Rng, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let at = rng.usize(0..=bytes.len());
    let end = (at + rng.usize(0..16)).min(bytes.len());
    match rng.u8(0..6) {
        0 => bytes.insert(at, byte(rng)),
        1 => drop(bytes.drain(at..end)),
        2 => bytes.truncate(at),
        3 => {
            let repeated: Vec<u8> = bytes.get(at..end).unwrap_or_default().repeat(rng.usize(1..4));
            bytes.splice(at..at, repeated);
        }
        4 => {
            let other = rng.choice(seeds).map_or(&[][..], Vec::as_slice);
            let from = rng.usize(0..=other.len());
            bytes.splice(at.., other.get(from..).unwrap_or_default().iter().copied());
        }
        _ => {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte(rng);
            }
        }
    }
}
