//! What the search has found so far.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use coldproof_evidence::leaks::{LeakSighting, LeaksObservation};
use coldproof_leaks::Hit;

use super::{files::Inode, surface};

/// A host that writes a secret everywhere need not have every place listed.
const MOST_SIGHTINGS: usize = 500;

pub(super) struct Report {
    names: Vec<String>,
    own: BTreeMap<Inode, Vec<usize>>,
    observation: Mutex<LeaksObservation>,
}

impl Report {
    pub(super) fn new(names: Vec<String>, own: BTreeMap<Inode, Vec<usize>>) -> Self {
        let surfaces = surface::ALL.iter().map(|&surface| (surface.to_owned(), Default::default())).collect();
        let observation = LeaksObservation { surfaces, ..LeaksObservation::default() };
        Self { names, own, observation: Mutex::new(observation) }
    }

    /// Notes that a place was looked through, and what was found in it. `inode` is the place's, if it is a file.
    pub(super) fn looked(&self, surface: &str, place: &str, bytes: u64, hits: &[Hit], inode: Option<Inode>) {
        let mut observation = self.lock();
        let scanned = observation.surfaces.entry(surface.to_owned()).or_default();
        scanned.items += 1;
        scanned.bytes += bytes;
        let own = inode.and_then(|inode| self.own.get(&inode)).map_or(&[][..], Vec::as_slice);
        for hit in hits.iter().filter(|hit| !hit.secrets.iter().any(|secret| own.contains(secret))) {
            let secret = hit.secrets.first().and_then(|&secret| self.names.get(secret)).cloned();
            if observation.sightings.len() >= MOST_SIGHTINGS {
                return;
            }
            observation.sightings.push(LeakSighting {
                surface: surface.to_owned(),
                place: place.to_owned(),
                offset: hit.offset,
                secret: secret.unwrap_or_default(),
                form: hit.form(),
            });
        }
    }

    /// Notes what could not be looked through.
    pub(super) fn gap(&self, gap: String) {
        self.lock().gaps.push(gap);
    }

    pub(super) fn into_observation(self) -> LeaksObservation {
        let mut observation = self.observation.into_inner().unwrap_or_else(PoisonError::into_inner);
        observation.sightings.sort();
        observation.gaps.sort();
        observation
    }

    fn lock(&self) -> MutexGuard<'_, LeaksObservation> {
        self.observation.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
