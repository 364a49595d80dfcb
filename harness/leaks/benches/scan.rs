//! How fast a core looks through bytes, beside ripgrep with the same values in their plain form alone.

use std::{
    hint::black_box,
    io::Write as _,
    process::{Command, Stdio},
};

use coldproof_leaks::{Matcher, Secret};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const SIZE: usize = 64 << 20;
const CHUNK: usize = 256 << 10;

/// Noise with lines in it, from a generator that is the same every time (Knuth's MMIX).
fn noise() -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..SIZE).map(|_| next()).collect()
}

/// Text as logs and stores have it.
fn text() -> Vec<u8> {
    let line = b"Nov 23 01:02:03 cc-ci deploy-proxy[812]: /nix/store/0c1v2b3n4m5a6s7d8f9g-proxy-1.2.3 is up to date\n";
    line.iter().copied().cycle().take(SIZE).collect()
}

fn secrets() -> Vec<Secret> {
    let noise: String =
        noise().iter().filter(|byte| byte.is_ascii_alphanumeric()).take(4000).map(|&b| b as char).collect();
    let token = |n: usize| noise[n * 40..][..40].to_owned();
    let pem: Vec<_> = (0..3).map(|n| &noise[2000 + n * 64..][..64]).collect();
    let key = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", pem.join("\n"));
    let values = (0..7).map(token).chain([key, "C:\\new, 100 %s <\u{e9}> and \"quoted\"".to_owned()]);
    values.map(|value| Secret { value: value.into(), ..Secret::default() }).collect()
}

fn scan(c: &mut Criterion) {
    let secrets = secrets();
    let matcher = Matcher::new(&secrets).expect("the secrets are few");
    let mut group = c.benchmark_group("scan");
    group.throughput(Throughput::Bytes(SIZE as u64)).sample_size(10);
    for (name, bytes) in [("noise", noise()), ("text", text())] {
        group.bench_function(format!("every form, in {name}"), |b| {
            b.iter(|| {
                let mut scanner = matcher.scanner();
                black_box(&bytes).chunks(CHUNK).for_each(|chunk| scanner.push(chunk));
                scanner.finish()
            });
        });
        if let Some(files) = Files::new(&bytes, &secrets) {
            group.bench_function(format!("rg -F -f, plain form alone, in {name}"), |b| b.iter(|| files.ripgrep()));
        }
    }
    group.finish();
}

/// What ripgrep is given; none where it is not installed.
struct Files {
    bytes: tempfile::NamedTempFile,
    patterns: tempfile::NamedTempFile,
}

impl Files {
    fn new(bytes: &[u8], secrets: &[Secret]) -> Option<Self> {
        Command::new("rg").arg("--version").stdout(Stdio::null()).status().ok()?;
        let file = |bytes: &[u8]| {
            let mut file = tempfile::NamedTempFile::new_in("/dev/shm").ok()?;
            file.write_all(bytes).ok()?;
            Some(file)
        };
        let lines: Vec<_> = secrets.iter().flat_map(|secret| secret.value.lines()).filter(|l| l.len() > 30).collect();
        Some(Self { bytes: file(bytes)?, patterns: file(lines.join("\n").as_bytes())? })
    }

    fn ripgrep(&self) {
        let status = Command::new("rg")
            .args(["--text", "--threads=1", "--count", "--fixed-strings", "--file"])
            .args([self.patterns.path(), self.bytes.path()])
            .status();
        assert!(status.is_ok_and(|status| status.code() == Some(1)), "nothing is there to be found");
    }
}

criterion_group!(benches, scan);
criterion_main!(benches);
