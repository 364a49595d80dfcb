//! One line of strace's output, as `strace -ttt -y` writes it.

/// One system call that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// When it was made: microseconds since the epoch.
    pub(crate) at_us: u64,
    /// Its name, for instance `openat`.
    pub(crate) name: String,
    /// Its arguments as strace writes them, parted but not changed.
    pub(crate) arguments: Vec<String>,
    /// What it returned.
    pub(crate) returned: Returned,
}

/// What a system call returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Returned {
    /// A number, with the path where it is a file descriptor.
    Value(i64, Option<String>),
    /// An error by name, for instance `ENOENT`.
    Error(String),
}

impl Call {
    /// Reads one line; none where it is no call that has ended (signals, exits, what strace says of itself).
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (time, rest) = line.trim_start().split_once(' ')?;
        let open = rest.find('(')?;
        let name = rest[..open].trim();
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return None;
        }
        let (arguments, rest) = split_arguments(&rest[open + 1..])?;
        let returned = Returned::parse(rest.trim_start().strip_prefix("= ")?)?;
        Some(Self { at_us: microseconds(time)?, name: name.to_owned(), arguments, returned })
    }

    /// Whether it succeeded.
    pub(crate) const fn succeeded(&self) -> bool {
        matches!(self.returned, Returned::Value(..))
    }

    /// Whether it failed with this error.
    pub(crate) fn failed_with(&self, error: &str) -> bool {
        matches!(&self.returned, Returned::Error(name) if name == error)
    }

    /// The argument at `index` as a path, if it is a string.
    pub(crate) fn string(&self, index: usize) -> Option<String> {
        unquote(self.arguments.get(index)?)
    }

    /// The path of the file descriptor that the argument at `index` is, as `3</etc/x>` or `AT_FDCWD</>`.
    pub(crate) fn descriptor(&self, index: usize) -> Option<String> {
        annotation(self.arguments.get(index)?)
    }

    /// Whether any argument has this flag.
    pub(crate) fn has(&self, flag: &str) -> bool {
        let is_flag = |argument: &String| argument.split(['|', ' ']).any(|word| word == flag);
        self.arguments.iter().filter(|argument| !argument.starts_with('"')).any(is_flag)
    }
}

impl Returned {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(2, ' ');
        let value = words.next()?;
        let number = value.split('<').next()?;
        let number =
            number.strip_prefix("0x").map_or_else(|| number.parse().ok(), |hex| i64::from_str_radix(hex, 16).ok())?;
        if number == -1
            && let Some(error) = words.next().and_then(|rest| rest.split(' ').next())
        {
            return Some(Self::Error(error.to_owned()));
        }
        Some(Self::Value(number, annotation(text)))
    }
}

fn microseconds(time: &str) -> Option<u64> {
    let (seconds, fraction) = time.split_once('.')?;
    let fraction: u64 = (fraction.len() == 6).then(|| fraction.parse().ok())??;
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(fraction)
}

/// The arguments up to the closing parenthesis, and what follows it.
fn split_arguments(text: &str) -> Option<(Vec<String>, &str)> {
    let (mut arguments, mut start, mut depth) = (Vec::new(), 0, 0_usize);
    let (mut quoted, mut escaped, mut in_path) = (false, false, false);
    for (index, byte) in text.bytes().enumerate() {
        if escaped {
            escaped = false;
            continue;
        }
        match byte {
            b'\\' if quoted => escaped = true,
            b'"' if !in_path => quoted = !quoted,
            _ if quoted => {}
            // Angle brackets inside a path are written as escapes.
            b'>' if in_path => in_path = false,
            _ if in_path => {}
            b'<' if text[index..].starts_with("</") => in_path = true,
            b'(' | b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.checked_sub(1)?,
            b')' if depth > 0 => depth -= 1,
            b',' | b')' if depth == 0 => {
                let argument = text[start..index].trim();
                if !argument.is_empty() || byte == b',' {
                    arguments.push(argument.to_owned());
                }
                if byte == b')' {
                    return Some((arguments, &text[index + 1..]));
                }
                start = index + 1;
            }
            _ => {}
        }
    }
    None
}

/// The path in angle brackets after a file descriptor; none for sockets, pipes and what was deleted.
fn annotation(text: &str) -> Option<String> {
    let start = text.find("</")?;
    // A quoted string before it would be the argument itself.
    if text[..start].contains('"') {
        return None;
    }
    let rest = &text[start + 1..];
    Some(unescape(&rest[..rest.find('>')?]))
}

/// A quoted string, also where it is a field: `sun_path="/run/x.sock"`.
fn unquote(text: &str) -> Option<String> {
    let rest = &text[text.find('"')? + 1..];
    let mut escaped = false;
    let end = rest.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })?;
    Some(unescape(&rest[..end]))
}

/// Undoes strace's escapes: C's, and up to three octal digits.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next() {
            Some(b'n') => bytes.push(b'\n'),
            Some(b't') => bytes.push(b'\t'),
            Some(b'r') => bytes.push(b'\r'),
            Some(b'v') => bytes.push(0x0b),
            Some(b'f') => bytes.push(0x0c),
            Some(digit @ b'0'..=b'7') => {
                let mut value = u32::from(digit - b'0');
                for _ in 0..2 {
                    let Some(digit) = rest.next_if(|byte| (b'0'..=b'7').contains(byte)) else { break };
                    value = value * 8 + u32::from(digit - b'0');
                }
                bytes.push(u8::try_from(value).unwrap_or(b'?'));
            }
            Some(other) => bytes.push(other),
            None => bytes.push(b'\\'),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn parse(text: &str) -> Call {
        Call::parse(&format!("1795397028.495577 {text}")).unwrap()
    }

    #[test]
    fn an_open_has_its_arguments_and_its_descriptor() {
        let call = parse(r#"openat(AT_FDCWD</root>, "/etc/a, b)", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3</etc/a, b)>"#);
        assert_eq!((call.at_us, call.name.as_str()), (1_795_397_028_495_577, "openat"));
        assert_eq!(call.arguments.len(), 4);
        assert_eq!(call.descriptor(0).as_deref(), Some("/root"));
        assert_eq!(call.string(1).as_deref(), Some("/etc/a, b)"));
        assert!(call.has("O_CREAT") && !call.has("O_APPEND"));
        assert_eq!(call.returned, Returned::Value(3, Some("/etc/a, b)".into())));
    }

    #[rstest]
    #[case(r#"mkdir("/s/lock", 0777) = -1 EEXIST (File exists)"#, Returned::Error("EEXIST".into()))]
    #[case(
        r#"newfstatat(AT_FDCWD</>, "/s", {st_mode=S_IFDIR|0755, st_size=40, ...}, 0) = 0"#,
        Returned::Value(0, None)
    )]
    #[case(
        "clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|SIGCHLD, child_tidptr=0x7f) = 642",
        Returned::Value(642, None)
    )]
    #[case("fcntl(1</dev/null>, F_GETFL) = 0x8002 (flags O_RDWR|O_LARGEFILE)", Returned::Value(0x8002, None))]
    #[case("getcwd(\"/\", 4096) = 2", Returned::Value(2, None))]
    fn what_is_returned(#[case] line: &str, #[case] returned: Returned) {
        assert_eq!(parse(line).returned, returned);
    }

    #[rstest]
    #[case("1795397028.495577 +++ exited with 0 +++")]
    #[case("1795397028.495577 --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED} ---")]
    #[case("1795397028.495577 exit_group(0) = ?")]
    #[case("1795397028.495577 openat(AT_FDCWD</>, \"/etc")]
    #[case("strace: Process 642 attached")]
    #[case("")]
    fn what_is_no_finished_call(#[case] line: &str) {
        assert_eq!(Call::parse(line), None);
    }

    #[test]
    fn a_socket_s_path_is_a_field() {
        let call = parse(r#"connect(4<socket:[3328]>, {sa_family=AF_UNIX, sun_path="/run/db.sock"}, 110) = 0"#);
        assert_eq!(call.string(1).as_deref(), Some("/run/db.sock"));
        assert_eq!(call.descriptor(0), None);
    }

    /// Writes a path as strace does.
    fn quoted(path: &str) -> String {
        let escape = |byte: u8| match byte {
            b'"' | b'\\' => format!("\\{}", char::from(byte)),
            b'\n' => "\\n".to_owned(),
            b' '..=b'~' => char::from(byte).to_string(),
            _ => format!("\\{byte:03o}"),
        };
        format!("\"{}\"", path.bytes().map(escape).collect::<String>())
    }

    proptest! {
        #[test]
        fn any_path_comes_back(path in "/[^\0]{0,40}", other in "[^\0]{0,20}") {
            let line = format!("renameat2(AT_FDCWD</x>, {}, 5</y>, {}, RENAME_NOREPLACE) = 0", quoted(&path), quoted(&other));
            let call = parse(&line);
            prop_assert_eq!(call.arguments.len(), 5);
            prop_assert_eq!(call.string(1), Some(path));
            prop_assert_eq!(call.string(3), Some(other));
            prop_assert_eq!(call.descriptor(2), Some("/y".to_owned()));
            prop_assert!(call.has("RENAME_NOREPLACE"));
        }

        #[test]
        fn no_line_is_too_strange(line in ".{0,200}") {
            let _ = Call::parse(&line);
            let _ = Call::parse(&format!("1795397028.495577 openat({line}) = 3</{line}>"));
        }
    }
}
