//! The Incus provider.

use std::{collections::BTreeMap, fs::File, io, path::PathBuf, thread, time::Duration};

use async_trait::async_trait;
use coldproof_container::{SYSTEMD_PROC_CMDLINE, has_legacy_cgroups};
use coldproof_machines::{
    deadline::Deadline,
    lease::Lease,
    neighbours::Neighbour,
    paths::Paths,
    provider::{Accelerator, Capabilities, Machine, MachineSpec, Provider, ProvisionError},
    remote::{Remote, RemoteProvider},
};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::{
    client::Client,
    error::IncusError,
    image::ContainerImage,
    instance::{Instance, InstanceSpec, InstanceType, Source},
    machine::IncusMachine,
    mark::Mark,
    program::Commands,
    server::Server,
};

/// The provider's stable name.
pub(crate) const NAME: &str = "incus";
/// How long a removal may take that nobody waits for.
const REMOVAL: Duration = Duration::from_secs(120);
/// How long a look at what others have may take.
const LOOK: Duration = Duration::from_secs(30);
/// When an instance whose ledger was lost may be removed by anybody of ours.
const LIFE: Duration = Duration::from_secs(24 * 3600);

/// How what this provider makes is removed, for `coldproof_machines::helper::dispatch`.
pub const REMOTE: RemoteProvider = RemoteProvider { name: NAME, remove };

/// What is declared about the machines on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The server and its project.
    pub server: Server,
    /// Virtual machines or containers.
    pub kind: InstanceType,
    /// The alias of an image on the server, or its fingerprint; none where coldproof's own is to be imported, which is one for containers.
    pub image: Option<String>,
    /// cloud-init user-data, which others can read.
    pub user_data: Option<String>,
    /// The storage pool; the default profile's where none is named.
    pub pool: Option<String>,
    /// The most that running instances may take together, in bytes.
    pub budget: Option<u64>,
}

/// Makes instances on an Incus server.
#[derive(Debug)]
pub struct IncusProvider {
    settings: Settings,
    client: Client,
}

impl IncusProvider {
    /// Connects to the server.
    ///
    /// # Errors
    /// [`IncusError`] when it is not the server that was named, or refuses us.
    pub async fn connect(settings: Settings, deadline: Deadline) -> Result<Self, IncusError> {
        let client = Client::connect(&settings.server, deadline).await?;
        Ok(Self { settings, client })
    }

    /// The fingerprint of the image that is declared, if one is: who moves the alias later changes nothing.
    ///
    /// # Errors
    /// [`IncusError::ImageMissing`] when the server has none of this name.
    pub async fn image(&self, deadline: Deadline) -> Result<Option<String>, IncusError> {
        match &self.settings.image {
            Some(alias) => self.client.resolve(alias, deadline).await.map(Some),
            None => Ok(None),
        }
    }

    async fn source(&self, spec: &MachineSpec, deadline: Deadline) -> Result<Source, ProvisionError> {
        if let Some(fingerprint) = self.image(deadline).await? {
            return Ok(Source::Fingerprint(fingerprint));
        }
        if self.settings.kind == InstanceType::VirtualMachine {
            return Err(ProvisionError::Unmet {
                problem: "no image is named for virtual machines on the Incus server".to_owned(),
                remedy: "write `image` under [machine.incus], or `type = \"container\"`".to_owned(),
            });
        }
        let built = spec.image.built()?.clone();
        let read = tokio::task::spawn_blocking(move || ContainerImage::of(&built)).await;
        let image =
            read.map_err(io::Error::other).and_then(|image| image).map_err(io_error("reading the image's archive"))?;
        self.client.import(&image, deadline).await?;
        Ok(Source::Fingerprint(image.fingerprint))
    }

    fn instance(&self, spec: &MachineSpec, lease: &Lease, source: Source, pool: String) -> InstanceSpec {
        let mut config = BTreeMap::new();
        match self.settings.kind {
            // Incus turns secure boot on by itself, and refuses then to start what nobody has signed, as NixOS.
            InstanceType::VirtualMachine => {
                config.insert("security.secureboot".to_owned(), "false".to_owned());
            }
            InstanceType::Container => {
                // Nix's sandbox is a container within it.
                config.insert("security.nesting".to_owned(), "true".to_owned());
                if has_legacy_cgroups() {
                    let (variable, value) = SYSTEMD_PROC_CMDLINE;
                    config.insert(format!("environment.{variable}"), value.to_owned());
                }
            }
        }
        InstanceSpec {
            name: format!("coldproof-{}", lease.id()),
            kind: self.settings.kind,
            source,
            memory: spec.memory,
            cpus: spec.cpus,
            pool,
            disk: Some(spec.disk),
            user_data: self.settings.user_data.clone(),
            config,
            mark: Mark::new(self.client.fingerprint(), lease.run(), lease.id(), LIFE),
        }
    }
}

#[async_trait]
impl Provider for IncusProvider {
    fn capabilities(&self) -> Capabilities {
        let (name, reason) = match self.settings.kind {
            InstanceType::VirtualMachine => ("remote", "the server runs its virtual machines as it can"),
            InstanceType::Container => ("native", "a container runs on the server's own kernel"),
        };
        Capabilities {
            provider: NAME.to_owned(),
            accelerator: Accelerator { name: name.to_owned(), reason: reason.to_owned() },
            fork: false,
        }
    }

    async fn create(
        &self,
        spec: &MachineSpec,
        mut lease: Lease,
        deadline: Deadline,
    ) -> Result<Box<dyn Machine>, ProvisionError> {
        // One at a time: the first imports the image for all, and only what runs already is counted against the budget.
        let one_at_a_time = lock_starts().await?;
        let source = self.source(spec, deadline).await?;
        let pool = match &self.settings.pool {
            Some(pool) => pool.clone(),
            None => self.client.default_pool(deadline).await?,
        };
        let instance = self.instance(spec, &lease, source, pool);
        let handle = Handle {
            server: self.settings.server.clone(),
            name: instance.name.clone(),
            nonce: instance.mark.nonce.clone(),
        };
        let handle = serde_json::to_value(handle).map_err(io::Error::from).map_err(io_error("writing the ledger"))?;
        // In the ledger before the server is asked: whoever dies in between is cleaned up after.
        lease.add_remote(Remote { provider: NAME.to_owned(), name: instance.name.clone(), handle })?;
        let budget = self.settings.budget;
        let admission = self.client.admit(&lease, spec.memory, budget, deadline).await?;
        self.client.create(&instance, deadline).await?;
        self.client.start(&instance.name, deadline).await?;
        drop(one_at_a_time);
        let commands = Commands { client: self.client.clone(), instance: instance.name, kind: instance.kind };
        Ok(Box::new(IncusMachine::new(commands, spec, lease, self.capabilities().accelerator, budget, admission)))
    }

    fn is_here(&self) -> bool {
        false
    }

    async fn neighbours(&self, run: &str) -> Result<Vec<Neighbour>, ProvisionError> {
        let instances = self.client.instances(Deadline::after(LOOK)).await?;
        let others = instances.into_iter().filter(|instance| instance.is_up());
        Ok(others.filter_map(|instance| neighbour(instance, run)).collect())
    }
}

/// An instance that is not of this run.
fn neighbour(instance: Instance, run: &str) -> Option<Neighbour> {
    let mark = instance.mark();
    if mark.as_ref().is_some_and(|mark| mark.run == run) {
        return None;
    }
    let Instance { name, created_at, last_used_at, .. } = instance;
    let identity = format!("instance {name}, made {created_at}, started {last_used_at}");
    Some(Neighbour { name, identity, of_another_run: mark.is_some(), processes: Vec::new() })
}

/// Held on this computer by one who counts what runs and starts one more.
pub(crate) async fn lock_starts() -> Result<File, ProvisionError> {
    let locked = tokio::task::spawn_blocking(|| {
        let dir: PathBuf = Paths::from_env().runtime;
        std::fs::create_dir_all(&dir)?;
        let file = File::create(dir.join("incus.lock"))?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    });
    locked.await.map_err(io::Error::other).flatten().map_err(io_error("locking the server's use"))
}

fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> ProvisionError {
    move |source| ProvisionError::Io { what: what.to_owned(), source }
}

impl From<IncusError> for ProvisionError {
    fn from(error: IncusError) -> Self {
        let said = error.to_string();
        // Every message of this provider is the problem and then the remedy.
        match said.rsplit_once("; ") {
            Some((problem, remedy)) => Self::Unmet { problem: problem.to_owned(), remedy: remedy.to_owned() },
            None => Self::Unmet { problem: said, remedy: "see that and start again".to_owned() },
        }
    }
}

/// What the ledger keeps of an instance: paths of keys, and no key.
#[derive(Debug, Serialize, Deserialize)]
struct Handle {
    server: Server,
    name: String,
    nonce: String,
}

/// Removes the instance if it is ours, and looks that it is gone. On a thread of its own, as the caller may be within
/// an asynchronous runtime.
fn remove(remote: &Remote) -> Result<(), String> {
    let handle = Handle::deserialize(&remote.handle).map_err(|error| error.to_string())?;
    let removing = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let removed = runtime.map_err(|error| error.to_string())?.block_on(async {
            let deadline = Deadline::after(REMOVAL);
            Client::connect(&handle.server, deadline).await?.remove(&handle.name, &handle.nonce, deadline).await
        });
        removed.map_err(|error| error.to_string())
    });
    removing.join().unwrap_or_else(|_| Err("the removal panicked".to_owned()))
}
