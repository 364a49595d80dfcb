//! What of a value is looked for: all of it, and each line that gives it away by itself.

use crate::SHORTEST;

/// A line of a text with fewer bytes may well be a common one (`[Service]`), and stands elsewhere by chance.
const SHORTEST_LINE: usize = 24;
/// PEM (RFC 7468) has base64 only, so that fewer bytes do.
const SHORTEST_PEM_LINE: usize = 16;
/// How every unencrypted OpenSSH private key of one type begins: base64 of `openssh-key-v1`.
const OPENSSH_HEADER: &str = "b3BlbnNzaC1rZXktdjE";

/// The parts of `value`, each of which is a leak by itself; none if it is too short to be looked for.
pub(crate) fn pieces(value: &str) -> Vec<&str> {
    let value = value.trim();
    if value.len() < SHORTEST {
        return Vec::new();
    }
    let lines = || value.lines().map(str::trim);
    if value.contains("-----BEGIN ") {
        // Other keys have the same first and last lines; the body may have been wrapped anew.
        let body: Vec<_> = lines().filter(|line| is_secret_pem_line(line)).collect();
        if !body.is_empty() {
            return body;
        }
    }
    let mut pieces = vec![value];
    if value.contains('\n') {
        pieces.extend(lines().filter(|line| line.len() >= SHORTEST_LINE));
    }
    pieces
}

fn is_secret_pem_line(line: &str) -> bool {
    let base64 = line.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
    base64 && line.len() >= SHORTEST_PEM_LINE && !line.starts_with(OPENSSH_HEADER)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const PEM: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49\nAwEHBG0wawIBAQQg\nshort=\n-----END PRIVATE KEY-----\n";

    #[rstest]
    #[case("sesame12\n", &["sesame12"])]
    #[case("sesame1", &[])]
    #[case("the first line, which is long enough\nand\n", &["the first line, which is long enough\nand", "the first line, which is long enough"])]
    #[case(PEM, &["MIGHAgEAMBMGByqGSM49AgEGCCqGSM49", "AwEHBG0wawIBAQQg"])]
    #[case("-----BEGIN PGP-----\n", &["-----BEGIN PGP-----"])]
    fn a_value_is_looked_for_in_pieces(#[case] value: &str, #[case] expected: &[&str]) {
        assert_eq!(pieces(value), expected);
    }

    #[test]
    fn what_all_openssh_keys_have_in_common_is_no_piece() {
        let key = format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{OPENSSH_HEADER}AAAAABG5vbmU\nQyNTUxOQAAACBsecret\n");
        assert_eq!(pieces(&key), ["QyNTUxOQAAACBsecret"]);
    }
}
