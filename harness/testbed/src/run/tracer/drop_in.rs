//! The drop-in that has a service start traced.

use std::fmt::Write as _;

use serde::Deserialize;

/// The directory of the tracer in the guest; units that run as other accounts read it.
pub(super) const DIR: &str = "/run/coldproof-race";

/// One command of a service as the manager tells it: path, arguments, flags, and times that are of no interest here.
type Command = (String, Vec<String>, Vec<String>, u64, u64, u64, u64, u32, i32, i32);

/// What `GetAll` of `org.freedesktop.systemd1.Service` answers, as far as it is about commands.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Commands {
    #[serde(rename = "ExecStartPreEx")]
    before: Property,
    #[serde(rename = "ExecStartEx")]
    start: Property,
    #[serde(rename = "ExecStartPostEx")]
    after: Property,
}

#[derive(Debug, Default, Deserialize)]
struct Property {
    data: Vec<Command>,
}

/// busctl's answer to a call.
#[derive(Deserialize)]
pub(super) struct Answer<T> {
    pub(super) data: [T; 1],
}

impl Commands {
    /// The drop-in: every command that starts the service is run under strace, and nothing keeps strace from it.
    pub(super) fn drop_in(&self, unit: &str) -> String {
        // Restarts would hide a failure; a filter of system calls may forbid tracing.
        let mut text = format!("[Service]\nRestart=no\nSystemCallFilter=\nReadWritePaths=-{DIR}\n");
        for (setting, property) in
            [("ExecStartPre", &self.before), ("ExecStart", &self.start), ("ExecStartPost", &self.after)]
        {
            if property.data.is_empty() {
                continue;
            }
            let _ = writeln!(text, "{setting}=");
            for (path, argv, flags, ..) in &property.data {
                let _ = write!(text, "{setting}={}/bin/bash {DIR}/strace.sh {}", prefixes(flags), quoted(unit));
                for word in [path].into_iter().chain(argv.iter().skip(1)) {
                    let _ = write!(text, " {}", quoted(word));
                }
                text.push('\n');
            }
        }
        text
    }
}

/// The prefixes of a command line (systemd.service(5)) that the manager's flags stand for.
fn prefixes(flags: &[String]) -> String {
    let prefix = |flag: &String| match flag.as_str() {
        "ignore-failure" => Some('-'),
        "privileged" => Some('+'),
        "no-setuid" => Some('!'),
        "no-env-expand" => Some(':'),
        _ => None,
    };
    flags.iter().filter_map(prefix).collect()
}

/// A word of a command line. Variables stay: they are expanded when the command is run, as they were before.
fn quoted(word: &str) -> String {
    let mut text = String::from("\"");
    for character in word.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            '%' => text.push_str("%%"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            other => text.push(other),
        }
    }
    text.push('"');
    text
}

/// The object path of a unit: every byte that is no letter and no digit is written in hexadecimal.
pub(super) fn object_path(unit: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("_{byte:02x}"),
    };
    format!("/org/freedesktop/systemd1/unit/{}", unit.bytes().map(escape).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_that_starts_a_service_is_traced() {
        let answer = r#"{"type":"a{sv}","data":[{
            "Type":{"type":"s","data":"oneshot"},
            "ExecStartPreEx":{"type":"a(sasasttttuii)","data":[["/bin/sh",["sh","-c","test -e \"$X\" || 100%"],["ignore-failure","privileged"],0,0,0,0,0,0,0]]},
            "ExecStartEx":{"type":"a(sasasttttuii)","data":[["/bin/bash",["/bin/bash","/s.sh","a b"],[],0,0,0,0,0,0,0]]},
            "ExecStartPostEx":{"type":"a(sasasttttuii)","data":[]}}]}"#;
        let answer: Answer<Commands> = serde_json::from_str(answer).unwrap();
        let text = answer.data[0].drop_in("deploy.service");
        insta::assert_snapshot!(text, @r#"
        [Service]
        Restart=no
        SystemCallFilter=
        ReadWritePaths=-/run/coldproof-race
        ExecStartPre=
        ExecStartPre=-+/bin/bash /run/coldproof-race/strace.sh "deploy.service" "/bin/sh" "-c" "test -e \"$X\" || 100%%"
        ExecStart=
        ExecStart=/bin/bash /run/coldproof-race/strace.sh "deploy.service" "/bin/bash" "/s.sh" "a b"
        "#);
    }

    #[test]
    fn a_unit_has_an_object_path() {
        assert_eq!(object_path("a-b@1.service"), "/org/freedesktop/systemd1/unit/a_2db_401_2eservice");
    }
}
