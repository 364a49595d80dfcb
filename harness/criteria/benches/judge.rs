//! How long judging a whole record takes: a bundle must be judged again in milliseconds.

use std::hint::black_box;

use coldproof_criteria::{fixtures, judge};
use criterion::{Criterion, criterion_group, criterion_main};

/// A closure as large as a small NixOS host's.
const CLOSURE: usize = 2_000;

fn good(c: &mut Criterion) {
    let small = fixtures::good();
    let large = fixtures::with_closure_of(CLOSURE);
    c.bench_function("judge the good record", |b| b.iter(|| judge(black_box(&small))));
    c.bench_function("judge a closure of 2000 paths", |b| b.iter(|| judge(black_box(&large))));
}

criterion_group!(benches, good);
criterion_main!(benches);
