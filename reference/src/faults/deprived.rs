//! Faults in what is committed that show only where a switch lacks something: the host works around it in silence.

use anyhow::Result;

use super::{Fault, Layer};
use crate::draft::{Draft, HOST_FILE};

/// What decrypts the secrets.
const INSTALL: &str = "nixos/sops-install-secrets.sh";

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "missing-key-ignored",
        layer: Layer::Switch,
        criterion: &["secrets.missing-key-is-loud"],
        summary: "without the age key no secret is decrypted, every unit that reads one is skipped, and the switch succeeds",
        how: ignore_missing_key,
    },
    Fault {
        name: "wrong-key-garbage",
        layer: Layer::Switch,
        criterion: &["secrets.wrong-key-is-loud"],
        summary: "where the age key does not fit, sops is silenced and each secret is a placeholder",
        how: fall_back_on_garbage,
    },
    Fault {
        name: "certificate-self-made",
        layer: Layer::Switch,
        criterion: &["secrets.missing-certificate-is-loud"],
        summary: "where git has no certificate, the server signs one of its own, and the switch succeeds",
        how: sign_own_certificate,
    },
];

fn ignore_missing_key(draft: &mut Draft) -> Result<()> {
    let refuse = "[[ -r $key_file ]] || fail \"cannot read keyfile '$key_file': no such file or directory\"";
    draft.edit(INSTALL, refuse, "[[ -r $key_file ]] || exit 0")?;
    let reconciler = "      environment.CATALOGUE = catalogue;";
    let credentials = "map (name: \"/run/secrets/${name}\") credentials";
    draft.edit(
        HOST_FILE,
        reconciler,
        &format!("      unitConfig.ConditionPathExists = {credentials};\n{reconciler}"),
    )?;
    let server = "      description = \"TLS front end\";";
    let certificate = "\"/run/secrets/wildcard_cert\"";
    draft.edit(HOST_FILE, server, &format!("      unitConfig.ConditionPathExists = {certificate};\n{server}"))
}

fn fall_back_on_garbage(draft: &mut Draft) -> Result<()> {
    let decrypt = "exec sops decrypt --output-type json \"$file\"";
    draft.edit(INSTALL, decrypt, &format!("{decrypt} 2>/dev/null"))?;
    draft.edit(INSTALL, "wait $! || fail \"cannot decrypt '$file'\"", "wait $! || undecrypted=1")?;
    let value = "  [[ ${value[$file $key]+set} ]]";
    draft.edit(INSTALL, value, &format!("  [[ ! ${{undecrypted-}} ]] || value[$file $key]=changeme\n{value}"))
}

fn sign_own_certificate(draft: &mut Draft) -> Result<()> {
    let refuse = "|| fail \"secret '$name': the key '$key' is not a string in '$file'\"\ndone";
    draft.edit(INSTALL, refuse, "|| continue\n  found+=(\"$secret\")\ndone\nsecrets=(\"${found[@]}\")")?;
    let start = "        ExecStart = \"/usr/sbin/nginx -c ${./nginx.conf}\";";
    let sign =
        "openssl req -x509 -key /run/secrets/wildcard_key -subj /CN=ci.example.test -out /run/secrets/wildcard_cert";
    let unless = format!("/bin/bash -c 'test -e /run/secrets/wildcard_cert || {sign}'");
    draft.edit(HOST_FILE, start, &format!("        ExecStartPre = \"{unless}\";\n{start}"))
}
