//! What can be told before anything is made: mistakes and lacks that would otherwise show minutes into a run.

use std::{
    io,
    path::{self, Path},
};

use coldproof_criteria::Need;
use coldproof_machines::disk_image::Control;
use zeroize::Zeroizing;

use super::{Plan, Reach, RunError, Selection, machines::maker, setting::Setting};
use crate::{
    fit::{self, Evaluation, Fit},
    host::{HostDefinition, Provider},
    sops::recipients,
    tools,
};

/// Looks at everything that needs no more than a look, and returns the one secret.
pub(super) fn check(host: &HostDefinition, plan: &Plan, selection: &Selection) -> Result<Zeroizing<String>, RunError> {
    if plan.out.exists() {
        return Err(RunError::OutExists(plan.out.clone()));
    }
    can_be_made(&plan.out).map_err(|source| RunError::OutUnwritable { out: plan.out.clone(), source })?;
    if let (true, Provider::Ssh, Some(original)) = (plan.keep, plan.provider(host), &host.machine.original) {
        return Err(RunError::KeptOriginal(original.ssh.destination.clone()));
    }
    tools::require("git")?;
    if selection.needs(Need::Sops) || selection.reach() == Reach::Switched {
        tools::require("sops")?;
    }
    if selection.reach() > Reach::Source {
        if plan.provider(host) == Provider::Ssh {
            tools::require("ssh")?;
            readable(host)?;
        }
        match maker(host, plan) {
            Provider::Qemu => ["qemu-img", "qemu-system-x86_64"].into_iter().try_for_each(tools::require)?,
            #[cfg(feature = "docker")]
            Provider::Docker => tools::require("zstd")?,
            Provider::Incus if host.machine.incus.is_some() => {}
            Provider::Incus => return Err(RunError::NoIncusServer),
            other => return Err(RunError::Provider(other)),
        }
        if host.machine.image.as_ref().is_some_and(|image| matches!(image.control, Control::Ssh { .. })) {
            tools::require("ssh")?;
        }
    }
    let key = host.bootstrap.key.read()?;
    recipients::of_identity(&key).map_err(RunError::BootstrapKey)?;
    Ok(key)
}

/// Whether the configuration in the clone fits the machine that is declared around an image of one's own. What cannot be
/// told is said, and is no verdict.
pub(super) async fn fits(setting: &Setting<'_>, clone: &Path) -> Result<(), RunError> {
    let Some(image) = setting.host.machine.image.as_ref().filter(|_| setting.selection.reach() > Reach::Source) else {
        return Ok(());
    };
    let evaluation =
        Evaluation { clone, host: &setting.host.host, private: setting.lease.dir(), mark: setting.lease.mark() };
    let unknown = match fit::look(&evaluation, image).await {
        Fit::Fits => return Ok(()),
        Fit::Misfit(misfits) => return Err(RunError::Misfit(misfits)),
        Fit::Silent => "it says nothing of disks, boot loaders and agents".to_owned(),
        Fit::Unknown(why) => why,
    };
    setting.stopwatch.note(&format!("the host's configuration was not compared with [machine.image]: {unknown}"));
    Ok(())
}

/// A host that is there already is named, and nothing is done to it.
fn readable(host: &HostDefinition) -> Result<(), RunError> {
    if host.machine.original.is_none() {
        return Err(RunError::NoOriginal);
    }
    match &host.fault {
        Some(fault) => Err(RunError::FaultInOriginal(fault.name.to_string())),
        None => Ok(()),
    }
}

/// Whether a directory can be made there. Nothing but an attempt tells: root passes every look at permissions.
fn can_be_made(out: &Path) -> io::Result<()> {
    let out = path::absolute(out)?;
    let above = out.ancestors().skip(1).find(|directory| directory.exists()).unwrap_or(Path::new("/"));
    tempfile::Builder::new().prefix(".coldproof-").tempdir_in(above)?.close()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_place_of_a_bundle_is_tried_and_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        can_be_made(&dir.path().join("a/b")).unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(can_be_made(&dir.path().join("file/b")).is_err());
        assert!(can_be_made("/proc/b".as_ref()).is_err());
    }
}
