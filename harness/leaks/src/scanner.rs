//! One stream, looked through as it goes by.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use crate::{
    Encoding, Layer, Matcher,
    layer::{Decoder, SNIFFED},
    rows::Rows,
};

/// Compressed within compressed within compressed: nobody keeps logs deeper.
const DEEPEST: usize = 3;
/// A stream that decompresses to more is looked through only so far: a small file must not cost hours.
const LONGEST_LAYER: u64 = 4 << 30;

/// One form of a secret in one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Indices of the secrets that have this form; more than one where their values are equal.
    pub secrets: Vec<usize>,
    /// The form.
    pub encoding: Encoding,
    /// The compression that it was found in, the outermost first.
    pub layers: Vec<Layer>,
    /// Where it was found first: the number of bytes before it, within the innermost layer. For a form that is
    /// wrapped into rows, those before the first row.
    pub offset: u64,
    pub(crate) needle: usize,
}

impl Hit {
    /// The form in words, for instance `base64 in gzip`.
    #[must_use]
    pub fn form(&self) -> String {
        // The innermost compression is nearest to the form.
        let layers = self.layers.iter().rev().map(|layer| format!(" in {layer}"));
        format!("{}{}", self.encoding, layers.collect::<String>())
    }
}

/// Looks through one stream, which may be pushed in chunks of any size.
pub struct Scanner<'m> {
    matcher: Option<&'m Matcher>,
    depth: usize,
    head: Vec<u8>,
    decoder: Option<(Layer, Decoder<'m>)>,
    /// The last bytes before the next chunk, in which a form may have begun.
    carried: Vec<u8>,
    passed: u64,
    rows: Rows,
    found: BTreeMap<usize, u64>,
    beneath: Vec<Hit>,
}

impl<'m> Scanner<'m> {
    pub(crate) fn new(matcher: &'m Matcher) -> Self {
        Self { matcher: Some(matcher), rows: Rows::new(), ..Self::closed() }
    }

    /// One that looks for nothing: what is left in place of a scanner that was taken out of its decoder.
    pub(crate) fn closed() -> Self {
        Self {
            matcher: None,
            depth: 0,
            head: Vec::new(),
            decoder: None,
            carried: Vec::new(),
            passed: 0,
            rows: Rows::default(),
            found: BTreeMap::new(),
            beneath: Vec::new(),
        }
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, chunk: &[u8]) {
        let Some(matcher) = self.matcher else { return };
        if chunk.is_empty() || self.depth > 0 && self.passed > LONGEST_LAYER {
            return;
        }
        self.decompress(chunk, matcher);
        let (passed, carried) = (self.passed, self.carried.len());
        let mut note = |needle, at| {
            self.found.entry(needle).or_insert(at);
        };
        let most_carried = matcher.longest().saturating_sub(1);
        let seam = chunk.len().min(most_carried);
        if carried > 0 {
            self.carried.extend_from_slice(&chunk[..seam]);
            let before = passed - carried as u64;
            // What lies in one of both alone is found there.
            let crossing = matcher.find(&self.carried).filter(|hit| hit.start < carried && hit.end > carried);
            crossing.for_each(|hit| note(hit.needle, before + hit.start as u64));
        }
        matcher.find(chunk).for_each(|hit| note(hit.needle, passed + hit.start as u64));
        let joined = &mut |run: &[u8], at| matcher.find(run).for_each(|hit| note(hit.needle, at));
        self.rows.push(chunk, passed, matcher.longest(), joined);
        if chunk.len() >= most_carried {
            self.carried.clear();
            self.carried.extend_from_slice(&chunk[chunk.len() - most_carried..]);
        } else {
            if carried == 0 {
                self.carried.extend_from_slice(chunk);
            }
            let surplus = self.carried.len().saturating_sub(most_carried);
            self.carried.drain(..surplus);
        }
        self.passed += chunk.len() as u64;
    }

    /// Ends the stream: everything that was found in it, each form once.
    #[must_use]
    pub fn finish(mut self) -> Vec<Hit> {
        let Some(matcher) = self.matcher else { return self.beneath };
        let (found, passed) = (&mut self.found, self.passed);
        self.rows.finish(passed, &mut |run, at| {
            matcher.find(run).for_each(|hit| {
                found.entry(hit.needle).or_insert(at);
            });
        });
        self.end_layer();
        let hit = |(needle, offset)| Hit {
            secrets: matcher.secrets(needle).to_vec(),
            encoding: matcher.encoding(needle),
            layers: Vec::new(),
            offset,
            needle,
        };
        self.found.into_iter().map(hit).chain(self.beneath).collect()
    }

    fn decompress(&mut self, chunk: &[u8], matcher: &'m Matcher) {
        if let Some((_, decoder)) = &mut self.decoder {
            if decoder.push(chunk).is_err() {
                self.end_layer();
            }
        } else if self.head.len() < SNIFFED && self.depth < DEEPEST {
            let missing = (SNIFFED - self.head.len()).min(chunk.len());
            self.head.extend_from_slice(&chunk[..missing]);
            if self.head.len() == SNIFFED
                && let Some(layer) = Layer::sniff(&self.head)
            {
                let inner = Scanner { depth: self.depth + 1, ..Scanner::new(matcher) };
                let mut decoder = Decoder::new(layer, inner);
                let sound = decoder.push(&self.head).and_then(|()| decoder.push(&chunk[missing..]));
                self.decoder = Some((layer, decoder));
                if sound.is_err() {
                    self.end_layer();
                }
            }
        }
    }

    /// Keeps what was found beneath a layer that has ended, or broken.
    fn end_layer(&mut self) {
        if let Some((layer, decoder)) = self.decoder.take() {
            for mut hit in decoder.into_scanner().finish() {
                hit.layers.insert(0, layer);
                self.beneath.push(hit);
            }
        }
    }
}

/// So that decoders can write into it.
impl Write for Scanner<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
