//! Names of users and groups. A static glibc has no name service, so the files are read here.

use std::{collections::HashMap, fs};

/// The names of numbers, from `/etc/passwd` and `/etc/group`.
#[derive(Default)]
pub(crate) struct Accounts {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Accounts {
    /// Reads both files; a file that is missing names nobody.
    pub(crate) fn read() -> Self {
        let names = |path| parse(&fs::read_to_string(path).unwrap_or_default());
        Self { users: names("/etc/passwd"), groups: names("/etc/group") }
    }

    /// The user's name, or the number where there is none.
    pub(crate) fn user(&self, uid: u32) -> String {
        self.users.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }

    /// The group's name, or the number where there is none.
    pub(crate) fn group(&self, gid: u32) -> String {
        self.groups.get(&gid).cloned().unwrap_or_else(|| gid.to_string())
    }
}

/// Lines `name:password:number:…`, as passwd(5) and group(5) have them. The first name of a number counts.
fn parse(text: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(number))) = (fields.next(), fields.nth(1).map(str::parse)) {
            names.entry(number).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_names() {
        let passwd =
            "root:x:0:0:root:/root:/bin/bash\ntoor:x:0:0::/root:/bin/sh\n# no account\nbroken:x\nnginx:x:60:60:::\n";
        let accounts = Accounts { users: parse(passwd), groups: parse("nginx:x:60:\n") };
        assert_eq!(accounts.user(0), "root");
        assert_eq!(accounts.user(60), "nginx");
        assert_eq!(accounts.user(61), "61");
        assert_eq!(accounts.group(60), "nginx");
    }
}
