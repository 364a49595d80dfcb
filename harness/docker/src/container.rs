//! What the engine is asked to make.

use coldproof_container::{SYSTEMD_PROC_CMDLINE, has_legacy_cgroups};
use coldproof_machines::{lease::Lease, provider::MachineSpec};
use testcontainers::{
    ContainerRequest, GenericImage, ImageExt as _,
    bollard::models::HostConfig,
    core::{CgroupnsMode, WaitFor},
};

use crate::image;

/// The label by which a lease's container is found again.
pub(crate) const LEASE_LABEL: &str = "coldproof.lease";
/// The label that tells whose it is.
pub(crate) const RUN_LABEL: &str = "coldproof.run";

/// A container's name at the engine.
pub(crate) fn name(lease: &Lease) -> String {
    format!("coldproof-{}-{}", lease.machine(), lease.id())
}

/// systemd as the first process, with a kernel's view of its own and no network card.
pub(crate) fn request(spec: &MachineSpec, image: &str, lease: &Lease) -> ContainerRequest<GenericImage> {
    let (memory, cpus) = (spec.memory, spec.cpus);
    let mut request = GenericImage::new(image::NAME, image::tag(image))
        .with_entrypoint("/sbin/init")
        .with_wait_for(WaitFor::Nothing)
        .with_container_name(name(lease))
        .with_hostname("blank")
        .with_label(LEASE_LABEL, lease.id())
        .with_label(RUN_LABEL, lease.run())
        .with_label("coldproof.machine", lease.machine())
        .with_env_var("container", "docker")
        // Not all of `--privileged`: where the engine itself may not raise limits, it could not hand that on.
        .with_cap_add("ALL")
        .with_cap_drop("SYS_RESOURCE")
        .with_cgroupns_mode(CgroupnsMode::Private)
        // One modifier only: a second one would replace it.
        .with_host_config_modifier(move |config| host_config(config, memory, cpus));
    if has_legacy_cgroups() {
        let (name, value) = SYSTEMD_PROC_CMDLINE;
        request = request.with_env_var(name, value);
    }
    request
}

fn host_config(config: &mut HostConfig, memory: u64, cpus: u32) {
    config.network_mode = Some("none".to_owned());
    config.publish_all_ports = None;
    config.security_opt = Some(vec!["seccomp=unconfined".to_owned(), "apparmor=unconfined".to_owned()]);
    // The first process mounts what it needs, and Nix makes namespaces of its own for builds.
    config.masked_paths = Some(Vec::new());
    config.readonly_paths = Some(Vec::new());
    let tmpfs = [("/run", "exec,mode=755"), ("/tmp", "exec,mode=1777")];
    config.tmpfs = Some(tmpfs.map(|(path, options)| (path.to_owned(), options.to_owned())).into());
    config.memory = i64::try_from(memory).ok();
    config.nano_cpus = Some(i64::from(cpus) * 1_000_000_000);
}
