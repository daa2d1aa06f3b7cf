//! The corpus of the fuzz targets, replayed: each seed as it is and with mutations that are the same in every run.
//!
//! `FUZZ_MUTATIONS=100000 cargo test --package integration-tests fuzz -- --ignored --nocapture` is the longer form:
//! that many mutations of each seed.

use std::{
    fs,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, bail, ensure};

#[path = "../../../fuzz/checks.rs"]
#[allow(unreachable_pub, reason = "the fuzz targets use it as a file of their own crate, too")]
mod checks;

/// A folder of the corpus and what is checked on its seeds.
const CORPUS: [(&str, &[Check]); 2] =
    [("bson", &[("write", checks::write), ("decode", checks::decode)]), ("json", &[("read", checks::read)])];

type Check = (&'static str, fn(&[u8]));

#[test]
fn the_corpus_and_some_mutations_of_each_seed_break_nothing() -> anyhow::Result<()> {
    const MUTATIONS: usize = 200;
    replay(MUTATIONS)
}

#[test]
#[ignore = "takes as long as FUZZ_MUTATIONS says"]
fn the_corpus_and_many_mutations_of_each_seed_break_nothing() -> anyhow::Result<()> {
    let mutations = std::env::var("FUZZ_MUTATIONS").unwrap_or("20000".to_owned());
    replay(mutations.parse().context("FUZZ_MUTATIONS is a number")?)
}

fn replay(mutations: usize) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut inputs = 0;
    for (folder, checks) in CORPUS {
        let seeds = seeds(folder)?;
        for (name, seed) in &seeds {
            let mut random = Random::new(name);
            let mut input = seed.clone();
            for round in 0..=mutations {
                check(&input, checks).with_context(|| format!("{}, mutation {round}", name.display()))?;
                inputs += 1;
                input.clone_from(seed);
                mutate(&mut random, &seeds, &mut input);
                if folder == "bson" && random.below(4) > 0 {
                    mend_length(&mut input);
                }
            }
        }
    }
    println!("{inputs} inputs in {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn check(input: &[u8], checks: &[Check]) -> anyhow::Result<()> {
    for (name, check) in checks {
        if panic::catch_unwind(AssertUnwindSafe(|| check(input))).is_err() {
            bail!("the check {name} panicked on the bytes {}", hex(input));
        }
    }
    Ok(())
}

fn seeds(folder: &str) -> anyhow::Result<Vec<(PathBuf, Vec<u8>)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(folder);
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .with_context(|| folder.display().to_string())?
        .map(|entry| Ok(entry?.path()))
        .collect::<anyhow::Result<_>>()?;
    paths.sort();
    ensure!(paths.len() >= 10, "{}: only {} seeds", folder.display(), paths.len());
    paths.into_iter().map(|path| Ok((path.clone(), fs::read(path)?))).collect()
}

/// One to four changes of the kinds that find most: bits, bytes, lengths, cuts, repeats, pieces of other seeds.
fn mutate(random: &mut Random, seeds: &[(PathBuf, Vec<u8>)], input: &mut Vec<u8>) {
    const MOST_BYTES: usize = 1 << 16;
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        let length = random.below((input.len() - at).min(64) + 1);
        match random.below(8) {
            0 => input.truncate(at),
            1 => drop(input.drain(at..at + length)),
            2 if input.len() < MOST_BYTES => {
                let again = input[at..at + length].to_vec();
                input.splice(at..at, again);
            }
            3 if input.len() < MOST_BYTES => {
                let (_, other) = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                let piece = &other[from..(from + 1 + random.below(64)).min(other.len())];
                input.splice(at..at, piece.iter().copied());
            }
            4 => overwrite(input, at, &interesting_length(random).to_le_bytes()),
            5 => {
                let flipped = 1 << random.below(8) ^ input.get(at).copied().unwrap_or(0);
                overwrite(input, at, &[flipped]);
            }
            6 => overwrite(input, at, &[interesting_byte(random)]),
            _ => overwrite(input, at, &[random.next() as u8]),
        }
    }
}

fn overwrite(input: &mut [u8], at: usize, bytes: &[u8]) {
    let rest = &mut input[at..];
    let length = bytes.len().min(rest.len());
    rest[..length].copy_from_slice(&bytes[..length]);
}

fn interesting_length(random: &mut Random) -> i32 {
    const LENGTHS: [i32; 12] = [0, 1, 4, 5, 13, 14, 15, 64, -1, i32::MIN, i32::MAX, i32::MAX - 4];
    LENGTHS[random.below(LENGTHS.len())]
}

fn interesting_byte(random: &mut Random) -> u8 {
    const BYTES: &[u8] = b"\0\x01\x02\x03\x04\x05\x0b\x0c\x0f\x13\x7f\x80\xf0\xff{}[]\",:\\u$-.0eE";
    BYTES[random.below(BYTES.len())]
}

/// Makes the length and the terminator of the outermost document right, so that a change deeper inside is reached.
fn mend_length(input: &mut [u8]) {
    if input.len() < 5 {
        return;
    }
    let length = input.len() as i32;
    overwrite(input, 0, &length.to_le_bytes());
    *input.last_mut().expect("not empty") = 0;
}

/// A small generator of pseudo-random numbers (xorshift).
struct Random {
    state: u64,
}

impl Random {
    /// Seeded by a file's name, so that a new file changes nothing for the others.
    fn new(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        let state = name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |state, byte| {
            (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self { state: state | 1 }
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state >> 8
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
