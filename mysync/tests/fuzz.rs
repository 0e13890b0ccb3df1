//! The fuzz targets without a fuzzer, on any toolchain: over their seeds, and over copies of them that are changed at random.
//! `MYSYNC_FUZZ_ROUNDS` is the number of changed copies (a nightly run takes many); a failure prints the input's number, which is
//! all that is needed to run it again. See `fuzz/Cargo.toml` for the targets under libFuzzer.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../fuzz/targets.rs"]
mod targets;

use std::panic::catch_unwind;
use std::path::Path;

const ROUNDS: u64 = 3_000;
const CHANGES_MAX: u64 = 8;

fn seeds(folder: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Small and reproducible: the sequence hangs on the number alone.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound.max(1) as u64).unwrap()
    }
}

/// A changed copy of a part of a seed.
fn changed(seeds: &[Vec<u8>], number: u64) -> Vec<u8> {
    let mut random = Random(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut input = seeds[random.below(seeds.len())].clone();
    for _ in 0..=number % CHANGES_MAX {
        let at = random.below(input.len());
        match random.below(6) {
            0 => input.truncate(at),
            1 => input.insert(at, u8::try_from(random.below(256)).unwrap()),
            2 if at < input.len() => drop(input.remove(at)),
            3 if at < input.len() => input[at] = [0, 1, 0x7f, 0x80, 0xfb, 0xff][random.below(6)],
            4 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len());
                let to = (from + random.below(200)).min(other.len());
                input.splice(at..at, other[from..to].iter().copied());
            }
            _ if at < input.len() => input[at] ^= 1 << random.below(8),
            _ => {}
        }
    }
    input
}

fn run(folder: &str, target: fn(&[u8])) {
    let seeds = seeds(folder);
    seeds.iter().for_each(|seed| target(seed));
    let rounds = std::env::var("MYSYNC_FUZZ_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    for number in 0..rounds {
        let input = changed(&seeds, number);
        let outcome = catch_unwind(|| target(&input));
        assert!(
            outcome.is_ok(),
            "input {number} of {folder}: {}",
            String::from_utf8_lossy(&input)
        );
    }
}

#[test]
fn the_decoder_takes_any_bytes() {
    run("tests/decode_data", targets::decoder);
}

#[test]
fn gtid_sets_take_any_text() {
    run("fuzz/seeds/gtid", targets::gtid);
}
