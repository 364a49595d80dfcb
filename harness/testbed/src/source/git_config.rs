//! The global configuration file that carries a credential to git, on the controller and in the guest.
//!
//! `http.<origin>.extraHeader` sends the credential to that origin alone; `git clone -c` would put it into the
//! arguments, keep it in `.git/config` and send it wherever `.gitmodules` points.

use zeroize::Zeroizing;

use crate::network::Credential;

/// What goes into the file.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct GitConfig<'a> {
    /// Origin (`scheme://host:port`) and the credential that opens it.
    pub(crate) credential: Option<(&'a str, &'a Credential)>,
    /// The proxy to go through, as a URL.
    pub(crate) proxy: Option<&'a str>,
}

impl GitConfig<'_> {
    /// The file's bytes: a secret if there is a credential.
    pub(crate) fn to_bytes(self) -> Zeroizing<Vec<u8>> {
        // Room for all of it, so that growing leaves no copy of the credential behind.
        let mut text = Zeroizing::new(String::with_capacity(16 * 1024));
        // A redirection would carry the header to another server.
        text.push_str("[http]\n\tfollowRedirects = false\n\tlowSpeedLimit = 1\n\tlowSpeedTime = 60\n");
        if let Some(proxy) = self.proxy {
            text.push_str("\tproxy = ");
            push_quoted(&mut text, proxy);
        }
        if let Some((origin, credential)) = self.credential {
            text.push_str("[http ");
            push_quoted(&mut text, origin);
            text.pop();
            text.push_str("]\n\textraHeader = ");
            push_quoted(&mut text, credential.header_line());
        }
        // The host definition names these trees on purpose, whoever owns them.
        text.push_str("[safe]\n\tdirectory = *\n[advice]\n\tdetachedHead = false\n");
        Zeroizing::new(text.as_bytes().to_vec())
    }
}

/// Appends `value` in double quotes, by git-config's rules, and ends the line.
fn push_quoted(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push_str("\"\n");
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn read_by_git(config: GitConfig<'_>, args: &[&str]) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), config.to_bytes()).unwrap();
        let output = Command::new("git").arg("config").arg("--file").arg(file.path()).args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn git_reads_the_credential_for_its_origin_alone() {
        let line = r#"X-Token: a"b\c # d ; e"#;
        let credential = Credential::from_header_line(line).unwrap();
        let config = GitConfig { credential: Some(("https://git.example.test", &credential)), proxy: None };
        let of = |url| read_by_git(config, &["--get-urlmatch", "http.extraHeader", url]);
        assert_eq!(of("https://git.example.test/base.git").trim_end(), line);
        for elsewhere in ["http://git.example.test/", "https://example.test/", "https://git.example.test:8443/"] {
            assert_eq!(of(elsewhere), "");
        }
    }

    #[test]
    fn redirections_are_off_and_a_proxy_is_optional() {
        let with_proxy = GitConfig { proxy: Some("http://10.0.2.101:3128"), ..GitConfig::default() };
        assert_eq!(read_by_git(with_proxy, &["http.proxy"]), "http://10.0.2.101:3128\n");
        assert_eq!(read_by_git(GitConfig::default(), &["http.proxy"]), "");
        assert_eq!(read_by_git(GitConfig::default(), &["http.followRedirects"]), "false\n");
    }
}
