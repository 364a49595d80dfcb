//! What is needed to make machines; had when the first one is asked for.

use std::fs;

use coldproof_machines::{
    image::{Image, ImageStore},
    paths::Paths,
    provider::{MachineSpec, Provider},
    qemu::QemuProvider,
};

use super::{Phase, Plan, RunError, progress::Stopwatch};
use crate::host::{self, HostDefinition};

/// A provider, and the blank image in the form that it takes.
pub(super) struct Machines {
    pub(super) provider: Box<dyn Provider>,
    pub(super) image: Image,
}

impl Machines {
    pub(super) async fn prepare(
        host: &HostDefinition,
        plan: &Plan,
        stopwatch: &Stopwatch<'_>,
    ) -> Result<Self, RunError> {
        let store = ImageStore::open(&Paths::from_env());
        let say = |line: &str| stopwatch.detail(Phase::Image, line);
        // Building takes minutes; the other lines of work go on meanwhile.
        let ensure = async { tokio::task::block_in_place(|| store.ensure(&plan.image, &say)) };
        let image = stopwatch.time(Phase::Image, ensure).await?;
        let provider: Box<dyn Provider> = match plan.provider.unwrap_or(host.machine.provider) {
            host::Provider::Qemu => Box::new(QemuProvider::detect().await?),
            other => return Err(RunError::Provider(other)),
        };
        Ok(Self { provider, image })
    }

    /// A disk that cuts the image off would boot into nothing, and only the deadline would tell.
    pub(super) fn check_disk(&self, spec: &MachineSpec) -> Result<(), RunError> {
        let image = fs::metadata(&self.image.root).map_err(RunError::io("looking at the image"))?.len();
        if spec.disk < image {
            return Err(RunError::DiskTooSmall { disk_mib: spec.disk >> 20, image_mib: image >> 20 });
        }
        Ok(())
    }
}
