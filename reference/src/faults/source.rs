//! Faults that the repositories and the operator's tree show by themselves.

use std::{fs, io::Write};

use anyhow::{Context, Result};

use super::{Fault, Layer};
use crate::{
    draft::{Draft, HOST_FILE, token},
    git::git,
    identities::AgeIdentity,
    world::World,
};

/// A secret that nothing needs any more.
const OBSOLETE: &str = "obsolete_token";

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "operator-tree-dirty",
        layer: Layer::Source,
        criterion: &["source.recursive-clone"],
        summary: "the operator's own checkout has a change that is not committed",
        how: |draft| with_operator_tree(draft, dirty),
    },
    Fault {
        name: "operator-tree-unpushed",
        layer: Layer::Source,
        criterion: &["source.recursive-clone"],
        summary: "the operator's own checkout has a commit that was never pushed",
        how: |draft| with_operator_tree(draft, commit),
    },
    Fault {
        name: "token-in-git-config",
        layer: Layer::Source,
        criterion: &["source.no-credentials"],
        summary: "the operator's own checkout has an access token in .git/config",
        how: |draft| with_operator_tree(draft, put_token),
    },
    Fault {
        name: "token-in-submodule-remote",
        layer: Layer::Source,
        criterion: &["source.no-credentials"],
        summary: "the secrets' remote in the operator's own checkout has an access token in its URL",
        how: |draft| with_operator_tree(draft, put_token_into_remote),
    },
    Fault {
        name: "gitlink-old",
        layer: Layer::Source,
        criterion: &["source.gitlink-current"],
        summary: "the secrets' branch is ahead of the commit that the host's repository records",
        how: |draft| {
            draft.old_gitlink = true;
            Ok(())
        },
    },
    Fault {
        name: "value-in-plain-text",
        layer: Layer::Source,
        criterion: &["source.secrets-encrypted"],
        summary: "a value in the sops file is not encrypted, because its key ends in _unencrypted",
        how: |draft| {
            draft.secrets.insert("registry_note_unencrypted".into(), token());
            waive(draft, "registry_note_unencrypted", "nothing on the host needs it")
        },
    },
    Fault {
        name: "sops-file-hand-edited",
        layer: Layer::Source,
        criterion: &["source.secrets-encrypted"],
        summary: "a value was removed from the sops file with an editor, so that the file's MAC does not verify",
        how: |draft| {
            draft.secrets.insert(OBSOLETE.into(), token());
            draft.tamper = Some(|sops_file| {
                let kept = sops_file.lines().filter(|line| !line.starts_with(&format!("{OBSOLETE}:")));
                Ok(kept.map(|line| format!("{line}\n")).collect())
            });
            Ok(())
        },
    },
    Fault {
        name: "recipient-undeclared",
        layer: Layer::Source,
        criterion: &["source.recipients-exact"],
        summary: "the secrets are encrypted to a third key that nobody declared",
        how: |draft| {
            let third = AgeIdentity::generate().recipient();
            draft.creation_rules = format!("{},{third}\n", draft.creation_rules.trim_end());
            Ok(())
        },
    },
    Fault {
        name: "recipient-missing",
        layer: Layer::Source,
        criterion: &["source.recipients-exact"],
        summary: "the secrets are not encrypted to the host's own key",
        how: |draft| {
            let host = format!(",{}", draft.host_key.age.recipient());
            draft.creation_rules = draft.creation_rules.replace(&host, "");
            Ok(())
        },
    },
    Fault {
        name: "recipient-label-only",
        layer: Layer::Source,
        criterion: &["secrets.each-recipient"],
        summary: "the sops file names the host's key, but what stands below its name is wrapped for another key",
        how: |draft| {
            draft.tamper = Some(copy_first_stanza);
            Ok(())
        },
    },
    Fault {
        name: "repository-public",
        layer: Layer::Source,
        criterion: &["source.private"],
        summary: "the secrets' repository may be cloned by anybody (it has git-daemon's export marker)",
        how: |draft| {
            draft.finish = Some(|world| Ok(fs::write(world.secrets().join("git-daemon-export-ok"), "")?));
            Ok(())
        },
    },
    Fault {
        name: "secret-undeclared",
        layer: Layer::Source,
        criterion: &["coverage.complete"],
        summary: "the configuration and the sops file have a secret that the host definition does not name",
        how: |draft| {
            draft.secrets.insert("smtp_password".into(), token());
            draft.edit(
                HOST_FILE,
                "      registry_password = { };",
                "      registry_password = { };\n      smtp_password = { };",
            )
        },
    },
];

/// Declares the operator's own checkout, and has `change` made to it once it is there.
fn with_operator_tree(draft: &mut Draft, change: fn(&World) -> Result<()>) -> Result<()> {
    draft.finish = Some(change);
    draft.edit_definition("private = true ", "tree = \"operator\"\nprivate = true ")
}

fn clone_operator_tree(world: &World) -> Result<()> {
    // Git lets a submodule come from a path only where it is told so.
    let file_allowed = "protocol.file.allow=always";
    git(&world.dir, &["-c", file_allowed, "clone", "--quiet", "--recurse-submodules", "base.git", "operator"])?;
    Ok(())
}

fn dirty(world: &World) -> Result<()> {
    clone_operator_tree(world)?;
    let mut file = fs::OpenOptions::new().append(true).open(world.operator().join(HOST_FILE))?;
    Ok(writeln!(file, "# To do: turn the backups on again.")?)
}

fn commit(world: &World) -> Result<()> {
    dirty(world)?;
    let author = ["-c", "user.name=Operator", "-c", "user.email=operator@ci.example.test"];
    let commit = ["commit", "--quiet", "--all", "--message", "Note what is to be done"];
    git(&world.operator(), &[&author[..], &commit[..]].concat())?;
    Ok(())
}

fn put_token_into_remote(world: &World) -> Result<()> {
    clone_operator_tree(world)?;
    let url = format!("https://ci:{}@git.example.org/secrets.git", *token());
    git(&world.operator().join("secrets"), &["remote", "set-url", "origin", &url])?;
    Ok(())
}

fn put_token(world: &World) -> Result<()> {
    clone_operator_tree(world)?;
    let header = format!("Authorization: Bearer {}", *token());
    git(&world.operator(), &["config", "http.https://git.example.org/.extraHeader", &header])?;
    Ok(())
}

/// Has nothing check a key of the sops file.
fn waive(draft: &mut Draft, key: &str, reason: &str) -> Result<()> {
    let what = format!("sops-key:secrets/secrets.yaml#{key}");
    let waiver = format!("waive = [\n    {{ what = \"{what}\", reason = \"{reason}\" }},\n");
    draft.edit_definition("waive = [\n", &waiver)
}

/// Replaces the last recipient's wrapped data key by the first one's.
fn copy_first_stanza(sops_file: &str) -> Result<String> {
    const BEGIN: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
    const END: &str = "-----END AGE ENCRYPTED FILE-----";
    let stanza = |from: Option<usize>, to: Option<usize>| {
        let (from, to) = (from.context("the sops file has no age stanza")?, to.context("an age stanza does not end")?);
        Ok::<_, anyhow::Error>(from..to + END.len())
    };
    let first = stanza(sops_file.find(BEGIN), sops_file.find(END))?;
    let last = stanza(sops_file.rfind(BEGIN), sops_file.rfind(END))?;
    let mut tampered = sops_file.to_owned();
    tampered.replace_range(last, &sops_file[first]);
    Ok(tampered)
}

#[cfg(test)]
mod tests {
    use super::copy_first_stanza;

    #[test]
    fn the_last_stanza_becomes_the_first() {
        let stanza = |text| format!("-----BEGIN AGE ENCRYPTED FILE-----\n{text}\n-----END AGE ENCRYPTED FILE-----");
        let file = format!("a:\n{}\nb:\n{}\nmac: x\n", stanza("one"), stanza("two"));
        let expected = format!("a:\n{}\nb:\n{}\nmac: x\n", stanza("one"), stanza("one"));
        assert_eq!(copy_first_stanza(&file).unwrap(), expected);
        assert!(copy_first_stanza("mac: x\n").is_err());
    }
}
