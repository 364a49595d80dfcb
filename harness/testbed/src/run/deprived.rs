//! Switches that have to fail: without the key, with another key, without the certificate.
//!
//! Each has a blank machine of its own, so that none finds what another has left: units that have failed already, secrets
//! in RAM, a profile. They come one after another, which keeps the memory of all machines to that of three.

use std::collections::BTreeSet;

use coldproof_criteria::Need;
use coldproof_evidence::{Observed, deprived::DeprivedSwitch, guest::DeliveredSecret};
use coldproof_machines::provider::Priority;

use super::{
    Phase, RunError,
    guest::{CHECKOUT, Session},
    rebuild,
    setting::Setting,
};
use crate::{
    host::{HostDefinition, SopsValue},
    sops::{Without, recipients},
    tools,
};

/// Commits one changed file where it is, and what that changes in each repository above: the flake's gitlink moves as if
/// an operator had pushed it.
const COMMIT: &str = "file=$1 top=$2
    repository=$(git -C \"${file%/*}\" rev-parse --show-toplevel)
    while :; do
        git -C \"$repository\" -c user.name=coldproof -c user.email=coldproof@localhost \\
            commit --quiet --all --message 'Take the certificate out'
        [ \"$repository\" != \"$top\" ] || break
        repository=$(git -C \"$repository\" rev-parse --show-superproject-working-tree)
    done";

/// What the deprived machines brought back.
#[derive(Default)]
pub(super) struct Deprived {
    pub(super) missing_key: Observed<DeprivedSwitch>,
    pub(super) wrong_key: Observed<DeprivedSwitch>,
    pub(super) missing_certificate: Observed<DeprivedSwitch>,
}

/// What a machine has to do without.
#[derive(Clone, Copy)]
enum Lack<'h> {
    Key,
    FittingKey,
    Certificate(&'h SopsValue),
}

/// Runs every deprived switch that is needed. Their troubles leave them unavailable; they never end the run.
pub(super) async fn run(setting: &Setting<'_>) -> Result<Deprived, RunError> {
    let certificate = setting.host.tls.as_ref().map(|tls| Lack::Certificate(&tls.certificate));
    Ok(Deprived {
        missing_key: observe(setting, Lack::Key).await,
        wrong_key: observe(setting, Lack::FittingKey).await,
        missing_certificate: match certificate {
            Some(lack) => observe(setting, lack).await,
            None => Observed::NotObserved,
        },
    })
}

async fn observe(setting: &Setting<'_>, lack: Lack<'_>) -> Observed<DeprivedSwitch> {
    let (need, phase, name) = match lack {
        Lack::Key => (Need::MissingKey, Phase::MissingKey, "missing-key"),
        Lack::FittingKey => (Need::WrongKey, Phase::WrongKey, "wrong-key"),
        Lack::Certificate(_) => (Need::MissingCertificate, Phase::MissingCertificate, "missing-certificate"),
    };
    if !setting.selection.needs(need) {
        return Observed::NotObserved;
    }
    let work = async {
        let (machine, session) = setting.machine(name, Priority::Background).await?;
        let switched = switch(setting, &session, lack, phase).await;
        setting.discard(machine).await?;
        switched
    };
    match setting.stopwatch.time(phase, work).await {
        Ok(switched) => Observed::of(switched),
        Err(error) => Observed::Unavailable { cause: format!("the machine {name}: {error}") },
    }
}

async fn switch(
    setting: &Setting<'_>,
    session: &Session,
    lack: Lack<'_>,
    phase: Phase,
) -> Result<DeprivedSwitch, RunError> {
    session.install_observer().await?;
    let delivered = deliver(setting, session, lack).await?;
    let committed = setting.committed().await;
    session.clone_host(&setting.network, &committed.commit).await?;
    if let Lack::Certificate(place) = lack {
        take_out(setting, session, place).await?;
    }
    Ok(DeprivedSwitch {
        withheld: withheld(setting.host, lack),
        delivered,
        switch: rebuild::switch(setting, session, phase, "switch").await?,
    })
}

async fn deliver(
    setting: &Setting<'_>,
    session: &Session,
    lack: Lack<'_>,
) -> Result<Option<DeliveredSecret>, RunError> {
    let path = setting.host.bootstrap.path.as_str();
    Ok(match lack {
        Lack::Key => {
            // sshd may have made a host key of the machine's own there.
            session.script("making sure that there is no key", "rm -f -- \"$1\"", &[path]).await?;
            None
        }
        Lack::FittingKey => {
            let stranger = recipients::stranger_to(&setting.key).map_err(RunError::BootstrapKey)?;
            Some(session.deliver_key(&stranger, path).await?)
        }
        Lack::Certificate(_) => Some(session.deliver_key(&setting.key, path).await?),
    })
}

/// Commits the sops file without the certificate in the guest's clone. The file never leaves it but encrypted.
async fn take_out(setting: &Setting<'_>, session: &Session, place: &SopsValue) -> Result<(), RunError> {
    let file = format!("{CHECKOUT}/{}", place.sops_file);
    let committed = session.guest.pull(&file, session.deadline).await?;
    let without =
        Without { sops: tools::sops()?, identity: &setting.key, mark: setting.lease.mark(), scratch: &setting.work };
    let changed = without.value(&committed, place).await?;
    session.guest.push(changed.into(), &file, 0o644, session.deadline).await?;
    session.script("committing the sops file without the certificate", COMMIT, &[&file, CHECKOUT]).await.map(drop)
}

/// Every name that the host definition has for what is withheld.
fn withheld(host: &HostDefinition, lack: Lack<'_>) -> Vec<String> {
    let Lack::Certificate(place) = lack else {
        return vec![host.bootstrap.path.to_string()];
    };
    let mut names = BTreeSet::from([place.key.clone()]);
    for (name, secret) in &host.secrets {
        // sops-nix writes nested keys with `/`, sops with `.`.
        if secret.sops_file == place.sops_file && secret.sops_key.replace('/', ".") == place.key {
            names.extend([name.to_string(), secret.sops_key.clone(), secret.path.to_string()]);
            names.extend(secret.links.iter().map(ToString::to_string));
        }
    }
    names.into_iter().collect()
}
