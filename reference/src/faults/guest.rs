//! Faults that a script makes in a machine. What each script does is in `reference/faults/`.

use std::borrow::Cow;

use anyhow::Result;

use super::{Fault, Layer};
use crate::draft::{Draft, Script, Stage};

/// A fault whose script is run at a stage, as it is.
macro_rules! scripted {
    ($name:literal, $stage:ident, $criterion:expr, $summary:literal) => {
        Fault {
            name: $name,
            layer: Layer::Guest,
            criterion: &$criterion,
            summary: $summary,
            how: |draft| inject(draft, Stage::$stage, include_str!(concat!("../../faults/", $name, ".sh"))),
        }
    };
}

pub(super) const FAULTS: &[Fault] = &[
    scripted!("key-on-blank-machine", Blank, ["blank.inventory"], "the blank machine already holds an age key"),
    scripted!(
        "state-on-blank-machine",
        Blank,
        ["blank.inventory"],
        "the blank machine already has a service's state directory"
    ),
    scripted!(
        "bootstrap-key-readable",
        Bootstrapped,
        ["blank.one-secret"],
        "the delivered key can be read by every account of the machine"
    ),
    scripted!(
        "bootstrap-key-altered",
        Bootstrapped,
        ["blank.one-secret"],
        "somebody has edited the delivered key's file"
    ),
    scripted!(
        "name-looked-up",
        Switched,
        ["isolation.egress"],
        "the guest asks for the address of a host that nobody declared"
    ),
    scripted!(
        "profile-points-elsewhere",
        Switched,
        ["identity.toplevel"],
        "the system profile is not what was switched to, so the next boot starts something else"
    ),
    scripted!(
        "running-system-differs",
        Switched,
        ["identity.toplevel", "identity.reproduced"],
        "/run/current-system is another store path than the one that git builds"
    ),
    scripted!(
        "store-file-changed",
        Switched,
        ["identity.contents"],
        "a file of the closure was changed after it was built"
    ),
    scripted!(
        "store-mode-changed",
        Switched,
        ["identity.contents"],
        "a file of the closure was made executable after it was built"
    ),
    scripted!("secret-empty", Switched, ["secrets.in-place"], "a decrypted secret is an empty file"),
    scripted!(
        "secret-with-newline",
        Switched,
        ["secrets.in-place"],
        "a decrypted secret has a newline that git's lacks"
    ),
    scripted!("secret-on-disk", Switched, ["secrets.in-place"], "a decrypted secret is a link to a file on a disk"),
    scripted!("secret-mode", Switched, ["secrets.modes"], "a decrypted secret can be read by everybody"),
    scripted!("secret-owner", Switched, ["secrets.modes"], "a decrypted secret belongs to another account"),
    scripted!(
        "secret-link-is-a-copy",
        Switched,
        ["secrets.modes"],
        "where a service looks for its certificate there is a copy, not a link to the secret"
    ),
    scripted!("bootstrap-key-copied", Switched, ["leaks.none"], "the delivered key was copied to a second place"),
    scripted!(
        "secret-in-arguments",
        Switched,
        ["leaks.none"],
        "a process that runs has a secret among its arguments, for every account to see"
    ),
    scripted!("secret-in-environment", Switched, ["leaks.none"], "a process that runs has a secret in its environment"),
    scripted!("secret-in-file", Switched, ["leaks.none"], "a configuration file in /var has a secret in base64"),
    scripted!("secret-in-journal", Switched, ["leaks.none"], "a service has logged a secret in hex"),
    scripted!(
        "secret-in-history",
        Switched,
        ["leaks.none"],
        "a repository holds a secret in an object that nothing refers to any more"
    ),
    scripted!("secret-in-archive", Switched, ["leaks.none"], "a backup that was compressed with gzip holds a secret"),
    scripted!(
        "secret-in-core-dump",
        Switched,
        ["leaks.none"],
        "a program that held a secret has crashed and left its memory on the disk"
    ),
    Fault {
        name: "stale-leaf-served",
        layer: Layer::Guest,
        criterion: &["tls.leaf-equals-git"],
        summary: "the server still presents the certificate that the one in git replaced: same names, key and issuer",
        how: |draft| inject_older_chain(draft, include_str!("../../faults/stale-leaf-served.sh")),
    },
    Fault {
        name: "default-certificate-stale",
        layer: Layer::Guest,
        criterion: &["tls.unknown-name"],
        summary: "the server presents the certificate that the one in git replaced to whoever asks for another host",
        how: |draft| inject_older_chain(draft, include_str!("../../faults/default-certificate-stale.sh")),
    },
    scripted!(
        "unit-stopped",
        Switched,
        ["convergence.running", "services.units"],
        "a declared unit is stopped after the switch"
    ),
    scripted!(
        "server-killed",
        Switched,
        ["convergence.no-failures", "convergence.running", "services.units"],
        "the TLS front end was killed, as for want of memory, and nothing has started it again"
    ),
    scripted!("page-gone", Switched, ["services.http"], "the page that a declared URL serves is not there"),
    scripted!(
        "mount-left-busy",
        Teardown,
        ["teardown.clean"],
        "a file system is left mounted in the machine's lease directory, on a mount point that cannot be removed"
    ),
    scripted!(
        "bystander-in-lease",
        Teardown,
        ["resources.budget"],
        "a machine of another run bears the mark of this one's lease, so that its removal ends both"
    ),
];

/// A script that has a place for the chain that the one in git replaced.
fn inject_older_chain(draft: &mut Draft, script: &str) -> Result<()> {
    let older_chain = draft.older_chain()?;
    inject(draft, Stage::Switched, script.replace("@OLDER_CHAIN@", older_chain.trim_end()))
}

fn inject(draft: &mut Draft, stage: Stage, text: impl Into<Cow<'static, str>>) -> Result<()> {
    draft.script = Some(Script { stage, text: text.into() });
    Ok(())
}
