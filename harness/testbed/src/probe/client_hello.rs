//! A ClientHello of TLS 1.0 or 1.1, which no library that is fit for use can be made to send.

/// The newest version that a hello offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OldVersion {
    /// RFC 2246.
    Tls10,
    /// RFC 4346.
    Tls11,
}

impl OldVersion {
    pub(super) const ALL: [Self; 2] = [Self::Tls10, Self::Tls11];

    /// Its name, as it is recorded.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Tls10 => "TLSv1.0",
            Self::Tls11 => "TLSv1.1",
        }
    }

    const fn wire(self) -> [u8; 2] {
        match self {
            Self::Tls10 => [3, 1],
            Self::Tls11 => [3, 2],
        }
    }
}

/// What every server that speaks these versions has one of: ECDHE and plain RSA with AES and 3DES in CBC mode. The last
/// is no suite but says that renegotiation is secure (RFC 5746), without which some servers refuse for that reason.
const CIPHER_SUITES: [u16; 11] =
    [0xc009, 0xc00a, 0xc013, 0xc014, 0x0033, 0x0039, 0x002f, 0x0035, 0xc012, 0x000a, 0x00ff];
/// x25519, secp256r1, secp384r1.
const GROUPS: [u16; 3] = [0x001d, 0x0017, 0x0018];

/// The record that holds the hello (RFC 4346, section 7.4.1.2; the server name by RFC 6066, section 3).
///
/// It has no supported_versions extension and no signalling suite for fallback, so the version is taken at its word and
/// a refusal has no other cause.
pub(super) fn client_hello(name: &str, version: OldVersion, random: [u8; 32]) -> Vec<u8> {
    let mut hello = version.wire().to_vec();
    hello.extend(random);
    hello.push(0); // no session to resume
    hello.extend(with_length(&words(&CIPHER_SUITES)));
    hello.extend([1, 0]); // one compression method: none
    let host_name = [&[0][..], &with_length(name.as_bytes())].concat();
    let extensions = [
        extension(0x0000, &with_length(&host_name)),
        extension(0x000a, &with_length(&words(&GROUPS))),
        extension(0x000b, &[1, 0]), // points are not compressed
    ];
    hello.extend(with_length(&extensions.concat()));

    let [_, length @ ..] = u32::try_from(hello.len()).unwrap_or(u32::MAX).to_be_bytes();
    let handshake = [&[1][..], &length, &hello].concat();
    // The record layer says 1.0 in either case (RFC 5246, appendix E.1), as servers expect of a first record.
    [&[22, 3, 1][..], &with_length(&handshake)].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &with_length(body)].concat()
}

/// `bytes` after their number in two bytes. A DNS name has 255 at most, so nothing here comes near the limit.
fn with_length(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

fn words(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}
