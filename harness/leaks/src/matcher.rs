//! All forms of all secrets as one automaton.

use std::{
    array,
    collections::{BTreeMap, BTreeSet},
    mem,
};

use aho_corasick::{
    Anchored, Input, MatchKind,
    automaton::{Automaton as _, StateID},
    dfa::DFA,
};
use zeroize::Zeroize as _;

use crate::{
    encoding::{Encoding, forms},
    pieces::pieces,
    scanner::Scanner,
    secret::Secret,
};

/// Parts of a chunk that are looked through side by side.
const LANES: usize = 4;

/// Why no matcher could be made.
#[derive(Debug, thiserror::Error)]
#[error("the secrets are too many or too long to be looked for all at once: {0}; report this as a fault of coldproof")]
pub struct BuildError(#[from] aho_corasick::BuildError);

/// Looks for secrets in all their forms.
#[derive(Debug)]
pub struct Matcher {
    automaton: DFA,
    /// Where the automaton begins.
    start: StateID,
    needles: Vec<Needle>,
    longest: usize,
    searched: Vec<String>,
    unscannable: Vec<String>,
}

/// What one pattern of the automaton is a form of.
#[derive(Debug)]
struct Needle {
    /// Indices of the secrets; those with the same value have the same needles.
    secrets: Vec<usize>,
    encoding: Encoding,
    /// Index among the pieces of all secrets.
    piece: usize,
}

/// One pattern found in one piece of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) needle: usize,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Matcher {
    /// Looks for those that are not public.
    ///
    /// # Errors
    /// When the automaton would be too large.
    pub fn new(secrets: &[Secret]) -> Result<Self, BuildError> {
        let matcher = Self::without(secrets, &BTreeSet::new())?;
        // A private key holds its public half, and so does its certificate.
        let mut shared = BTreeSet::new();
        for public in secrets.iter().filter(|secret| secret.public) {
            let mut scanner = matcher.scanner();
            scanner.push(public.value.as_bytes());
            shared.extend(scanner.finish().iter().map(|hit| matcher.needles[hit.needle].piece));
        }
        if shared.is_empty() { Ok(matcher) } else { Self::without(secrets, &shared) }
    }

    fn without(secrets: &[Secret], left_out: &BTreeSet<usize>) -> Result<Self, BuildError> {
        let mut patterns: BTreeMap<String, usize> = BTreeMap::new();
        let mut needles: Vec<Needle> = Vec::new();
        let (mut searched, mut unscannable, mut piece) = (Vec::new(), Vec::new(), 0);
        for (index, secret) in secrets.iter().enumerate().filter(|(_, secret)| !secret.public) {
            let mut any = false;
            for text in pieces(&secret.value) {
                piece += 1;
                if left_out.contains(&piece) {
                    continue;
                }
                any = true;
                for (encoding, mut form) in forms(text) {
                    let next = needles.len();
                    let number = *patterns.entry(mem::take(&mut *form)).or_insert(next);
                    if number == next {
                        needles.push(Needle { secrets: Vec::new(), encoding, piece });
                    }
                    if !needles[number].secrets.contains(&index) {
                        needles[number].secrets.push(index);
                    }
                }
            }
            if any {
                searched.push(secret.name.clone());
            } else if !secret.value.trim().is_empty() {
                unscannable.push(secret.name.clone());
            }
        }
        let mut ordered: Vec<_> = patterns.iter().collect();
        ordered.sort_by_key(|(_, number)| **number);
        let longest = ordered.iter().map(|(form, _)| form.len()).max().unwrap_or_default();
        let automaton = DFA::builder()
            // With one, the state at the start would be among those that say that something was found.
            .prefilter(false)
            // Where one form begins with another, for instance a URL with a password, the whole is what was found.
            .match_kind(MatchKind::LeftmostLongest)
            .build(ordered.iter().map(|(form, _)| form.as_bytes()));
        patterns.into_keys().for_each(|mut form| form.zeroize());
        let automaton = automaton?;
        let start = automaton.start_state(Anchored::No).expect("it is built to search everywhere");
        Ok(Self { automaton, start, needles, longest, searched, unscannable })
    }

    /// A scanner for one stream.
    #[must_use]
    pub fn scanner(&self) -> Scanner<'_> {
        Scanner::new(self)
    }

    /// Names of the secrets that are looked for.
    #[must_use]
    pub fn searched(&self) -> &[String] {
        &self.searched
    }

    /// Names of those that cannot be looked for: too short, or nothing but what is public as well.
    #[must_use]
    pub fn unscannable(&self) -> &[String] {
        &self.unscannable
    }

    /// Length of the longest form in bytes.
    pub(crate) const fn longest(&self) -> usize {
        self.longest
    }

    pub(crate) fn find<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = Found> + 'a {
        let input = self.any(bytes).then(|| Input::new(bytes));
        let found = input.map(|input| self.automaton.try_find_iter(input).expect("it is built to search everywhere"));
        found.into_iter().flatten().map(|found| Found {
            needle: found.pattern().as_usize(),
            start: found.start(),
            end: found.end(),
        })
    }

    /// Whether there is anything to be found, which there hardly ever is. Each step of the automaton has to wait for the
    /// memory that the one before names; those of several lanes wait together.
    fn any(&self, bytes: &[u8]) -> bool {
        let step = |state, byte| self.automaton.next_state(Anchored::No, state, byte);
        let found = |state| self.automaton.is_special(state);
        let width = bytes.len().div_ceil(LANES);
        // What begins in a lane is found in it.
        let end = |lane: usize| (lane + 1) * width + self.longest;
        let lanes: [&[u8]; LANES] =
            array::from_fn(|lane| &bytes[(lane * width).min(bytes.len())..end(lane).min(bytes.len())]);
        let common = lanes.iter().map(|lane| lane.len()).min().unwrap_or_default();
        let heads = lanes.map(|lane| &lane[..common]);
        let mut states = [self.start; LANES];
        for at in 0..common {
            for (state, head) in states.iter_mut().zip(heads) {
                *state = step(*state, head[at]);
            }
            if states.iter().any(|state| found(*state)) {
                return true;
            }
        }
        lanes.iter().zip(states).any(|(lane, mut state)| {
            lane[common..].iter().any(|byte| {
                state = step(state, *byte);
                found(state)
            })
        })
    }

    pub(crate) fn encoding(&self, needle: usize) -> Encoding {
        self.needles[needle].encoding
    }

    pub(crate) fn secrets(&self, needle: usize) -> &[usize] {
        &self.needles[needle].secrets
    }
}
