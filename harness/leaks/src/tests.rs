//! Every form of a secret is found, wherever it is, however it arrives, and through compression.

use std::io::Write as _;

use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use proptest::prelude::*;
use rstest::rstest;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use crate::{Encoding, Hit, Layer, Matcher, Secret, encoding::forms, pieces::pieces};

fn secret(name: &str, value: &str) -> Secret {
    Secret { name: name.to_owned(), value: value.to_owned().into(), ..Secret::default() }
}

fn scan(matcher: &Matcher, bytes: &[u8], chunk: usize) -> Vec<Hit> {
    let mut scanner = matcher.scanner();
    bytes.chunks(chunk).for_each(|chunk| scanner.push(chunk));
    scanner.finish()
}

fn compressed(layer: Layer, bytes: &[u8]) -> Vec<u8> {
    match layer {
        Layer::Zlib => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Layer::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Layer::Zstd => compress_to_vec(bytes, CompressionLevel::Fastest),
    }
}

/// As awkward as a person's may be.
fn values() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z0-9]{8,64}", "[ -~]{8,40}", "[ -~é€😀\n\t]{12,60}"]
        .prop_filter("long enough without blanks around it", |value| value.trim().len() >= 8)
}

fn layers() -> impl Strategy<Value = Option<Layer>> {
    prop::option::of(prop::sample::select(vec![Layer::Zlib, Layer::Gzip, Layer::Zstd]))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_form_is_found_at_any_offset_and_across_any_chunks(
        value in values(),
        before in prop::collection::vec(any::<u8>(), 0..400),
        after in prop::collection::vec(any::<u8>(), 0..200),
        chunk in 1_usize..300,
        layer in layers(),
    ) {
        let matcher = Matcher::new(&[secret("token", &value)]).unwrap();
        for piece in pieces(&value) {
            for (encoding, form) in forms(piece) {
                let planted = [&before[..], form.as_bytes(), &after[..]].concat();
                let stream = layer.map_or_else(|| planted.clone(), |layer| compressed(layer, &planted));
                let hits = scan(&matcher, &stream, chunk);
                let through: Vec<_> = layer.into_iter().collect();
                prop_assert!(hits.iter().any(|hit| hit.layers == through), "{encoding} in {layer:?}");
            }
        }
    }

    #[test]
    fn nothing_is_found_where_nothing_was_planted(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
        let matcher = Matcher::new(&[secret("token", "an improbable value 4711")]).unwrap();
        prop_assert_eq!(scan(&matcher, &bytes, 64), []);
    }

    #[test]
    fn base64_wrapped_into_rows_is_found(value in "[a-zA-Z0-9]{40,200}", width in prop::sample::select(vec![60, 64, 76])) {
        use base64::prelude::{BASE64_STANDARD, Engine as _};
        let matcher = Matcher::new(&[secret("token", &value)]).unwrap();
        let encoded = BASE64_STANDARD.encode(format!("{{\"token\":\"{value}\"}}"));
        let rows: Vec<_> = encoded.as_bytes().chunks(width).map(|row| std::str::from_utf8(row).unwrap()).collect();
        let hits = scan(&matcher, format!("data:\n  {}\nend\n", rows.join("\n  ")).as_bytes(), 50);
        prop_assert_eq!(hits.first().map(|hit| hit.encoding), Some(Encoding::Base64));
    }

    #[test]
    fn what_is_redacted_holds_nothing_any_more(value in values(), before in "[ -~é]{0,40}", after in "[ -~é]{0,40}") {
        let names = ["token".to_owned()];
        let matcher = Matcher::new(&[secret("token", &value)]).unwrap();
        for (_, form) in pieces(&value).into_iter().flat_map(forms) {
            let text = format!("{before}{}{after}", form.as_str());
            let (clean, _) = matcher.redacted(&text, &names).unwrap();
            prop_assert!(matcher.redacted(&clean, &names).is_none(), "{text:?} became {clean:?}");
            prop_assert!(clean.contains("[token removed]"));
            let mut bytes = text.into_bytes();
            prop_assert!(matcher.blank(&mut bytes) && !matcher.blank(&mut bytes));
        }
    }
}

#[test]
fn a_hit_says_where_which_and_how() {
    let matcher = Matcher::new(&[secret("one", "first-value"), secret("two", "second-value")]).unwrap();
    let hits = scan(&matcher, b"x=1 second-value\n", 3);
    assert_eq!(hits.len(), 1);
    assert_eq!((&hits[0].secrets[..], hits[0].encoding, hits[0].offset), (&[1][..], Encoding::Plain, 4));
}

#[test]
fn compression_within_compression_is_looked_through() {
    let matcher = Matcher::new(&[secret("one", "first-value")]).unwrap();
    let nested = compressed(Layer::Gzip, &compressed(Layer::Zstd, &compressed(Layer::Zlib, b"first-value")));
    assert_eq!(scan(&matcher, &nested, 5)[0].layers, [Layer::Gzip, Layer::Zstd, Layer::Zlib]);
}

#[rstest]
#[case(Layer::Zlib)]
#[case(Layer::Gzip)]
#[case(Layer::Zstd)]
fn a_long_stream_is_decompressed_to_its_end(#[case] layer: Layer) {
    let matcher = Matcher::new(&[secret("one", "first-value")]).unwrap();
    let mut long: Vec<u8> = (0..1_500_000_u64).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    long.extend_from_slice(b"first-value");
    let twice = [compressed(layer, &long), b"trailing bytes".to_vec()].concat();
    // What does not compress is stored as it is, and found twice.
    assert!(scan(&matcher, &twice, 100_000).iter().any(|hit| hit.layers == [layer] && hit.offset == 1_500_000));
    let broken = &compressed(layer, &long)[..1000];
    assert_eq!(scan(&matcher, broken, 64), []);
}

#[test]
fn equal_values_are_found_as_both() {
    let matcher = Matcher::new(&[secret("one", "same-value"), secret("two", "same-value\n")]).unwrap();
    assert_eq!(scan(&matcher, b"same-value", 4)[0].secrets, [0, 1]);
}

#[test]
fn what_is_too_short_is_said_to_be_and_what_is_public_is_no_secret() {
    let public = Secret { public: true, ..secret("certificate", "public half 0123456789abcdef") };
    let key = "-----BEGIN EC-----\n0123456789abcdef\nfedcba9876543210\n-----END EC-----\n";
    let matcher = Matcher::new(&[secret("pin", "1234"), secret("none", ""), secret("key", key), public]).unwrap();
    assert_eq!(matcher.unscannable(), ["pin"]);
    assert_eq!(matcher.searched(), ["key"]);
    assert!(scan(&matcher, b"public half 0123456789abcdef", 4).is_empty());
    assert_eq!(scan(&matcher, b"fedcba9876543210", 4).len(), 1);
}

#[test]
fn a_secret_is_never_printed() {
    let text = format!("{:?}", secret("one", "first-value"));
    assert!(text.contains("one") && !text.contains("first-value"));
}
