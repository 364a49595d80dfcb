//! What is needed to make machines; had when the first one is asked for.

use std::{fs, io, thread, time::Duration};

use coldproof_evidence::Digest;
use coldproof_incus::provider::IncusProvider;
use coldproof_machines::{
    deadline::Deadline,
    disk_image::{self, DiskImage},
    image::{Image, ImageStore, Recipe},
    paths::Paths,
    provider::{MachineImage, MachineSpec, Provider, ProvisionError},
    qemu::QemuProvider,
};

use tokio::sync::{mpsc, oneshot};

use super::{Phase, Plan, RunError, progress::Stopwatch};
use crate::host::{self, HostDefinition};

/// Within which a server has to answer.
const CONNECT: Duration = Duration::from_secs(60);

/// A provider, and the blank image in the form that it takes.
pub(super) struct Machines {
    pub(super) provider: Box<dyn Provider>,
    pub(super) image: Prepared,
}

/// What the machines boot.
pub(super) enum Prepared {
    /// The blank image that coldproof built.
    Built(Image),
    /// The host definition's own, with the digest of its file.
    Own(DiskImage, Digest),
    /// An image of the provider's server, by its digest there.
    Server(Digest),
}

impl Prepared {
    pub(super) fn machine_image(&self) -> MachineImage {
        match self {
            Self::Built(image) => image.boot_image().into(),
            Self::Own(image, _) => MachineImage::Disk(image.clone()),
            Self::Server(digest) => MachineImage::Server(digest.hex()),
        }
    }

    pub(super) fn digest(&self) -> Digest {
        match self {
            Self::Built(image) => image.digest,
            Self::Own(_, digest) | Self::Server(digest) => *digest,
        }
    }

    /// Its packages, as far as they are known.
    pub(super) fn manifest(&self) -> &[String] {
        match self {
            Self::Built(image) => &image.manifest,
            Self::Own(..) | Self::Server(_) => &[],
        }
    }
}

impl Machines {
    pub(super) async fn prepare(
        host: &HostDefinition,
        plan: &Plan,
        stopwatch: &Stopwatch<'_>,
    ) -> Result<Self, RunError> {
        // First, as a provider that is not there would make the image's minutes vain.
        let (provider, on_server) = provider(maker(host, plan), &host.machine).await?;
        let prepared = async {
            match (&host.machine.image, on_server) {
                (_, Some(digest)) => Ok(Prepared::Server(digest)),
                (None, None) => image(&host.recipe(&plan.image), stopwatch).await.map(Prepared::Built),
                (Some(own), None) => hashed(own, stopwatch),
            }
        };
        let image = stopwatch.time(Phase::Image, prepared).await?;
        Ok(Self { provider, image })
    }

    /// A disk that cuts the image off would boot into nothing, and only the deadline would tell.
    pub(super) fn check_disk(&self, spec: &MachineSpec) -> Result<(), RunError> {
        let Prepared::Built(image) = &self.image else {
            // The size of an image of one's own is part of the host definition, and was checked with it.
            return Ok(());
        };
        let image = fs::metadata(&image.root).map_err(RunError::io("looking at the image"))?.len();
        if spec.disk < image {
            return Err(RunError::DiskTooSmall { disk_mib: spec.disk >> 20, image_mib: image >> 20 });
        }
        Ok(())
    }
}

/// The image of the recipe, built if need be. That takes minutes and blocks, so it has a thread of its own: the other lines
/// of work go on meanwhile, and whoever ends the run need not wait for it. The thread, and the lease of the build with it,
/// then ends with this process.
async fn image(recipe: &Recipe, stopwatch: &Stopwatch<'_>) -> Result<Image, RunError> {
    let (store, recipe) = (ImageStore::open(&Paths::from_env()), recipe.clone());
    let (line, mut lines) = mpsc::unbounded_channel();
    let (result, image) = oneshot::channel();
    let work = move || {
        // Nobody listens any more where the run has ended.
        let say = |text: &str| drop(line.send(text.to_owned()));
        drop(result.send(store.ensure(&recipe, &say)));
    };
    thread::Builder::new().name("image".to_owned()).spawn(work).map_err(RunError::io("starting a thread"))?;
    while let Some(text) = lines.recv().await {
        stopwatch.detail(Phase::Image, &text);
    }
    let built = image.await.map_err(|_| RunError::io("building the image")(io::Error::other("its thread panicked")))?;
    Ok(built?)
}

/// Who makes the machines: where a host is read that is there already, whoever makes its witness.
pub(super) fn maker(host: &HostDefinition, plan: &Plan) -> host::Provider {
    match (plan.provider(host), &host.machine.original) {
        (host::Provider::Ssh, Some(original)) => original.witness,
        (provider, _) => provider,
    }
}

/// The provider, and the image that is to be used of those that its server has, if one is declared.
async fn provider(
    which: host::Provider,
    machine: &host::Machine,
) -> Result<(Box<dyn Provider>, Option<Digest>), RunError> {
    Ok(match which {
        host::Provider::Qemu => (Box::new(QemuProvider::detect().await?), None),
        #[cfg(feature = "docker")]
        host::Provider::Docker => {
            (Box::new(coldproof_docker::DockerProvider::connect().await.map_err(ProvisionError::from)?), None)
        }
        host::Provider::Incus => incus(machine.incus.clone().ok_or(RunError::NoIncusServer)?).await?,
        other @ host::Provider::Ssh => return Err(RunError::Provider(other)),
        #[cfg(not(feature = "docker"))]
        other @ host::Provider::Docker => return Err(RunError::Provider(other)),
    })
}

async fn incus(settings: coldproof_incus::provider::Settings) -> Result<(Box<dyn Provider>, Option<Digest>), RunError> {
    let deadline = Deadline::after(CONNECT);
    let provider = IncusProvider::connect(settings, deadline).await.map_err(ProvisionError::from)?;
    let fingerprint = provider.image(deadline).await.map_err(ProvisionError::from)?;
    let digest = fingerprint.map(|fingerprint| format!("sha256:{fingerprint}").parse());
    let digest =
        digest.transpose().map_err(|error| RunError::io("reading the image's fingerprint")(io::Error::other(error)))?;
    Ok((Box::new(provider), digest))
}

/// An image of one's own, with the digest that the verdict names it by.
fn hashed(own: &DiskImage, stopwatch: &Stopwatch<'_>) -> Result<Prepared, RunError> {
    stopwatch.detail(Phase::Image, &format!("hashing {}", own.file.display()));
    let digest = tokio::task::block_in_place(|| disk_image::digest(&own.file));
    Ok(Prepared::Own(own.clone(), digest.map_err(RunError::io("hashing the image"))?))
}
