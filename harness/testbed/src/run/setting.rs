//! The setting of a run: what is needed before the first machine exists, leased so that it goes away with the run.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use coldproof_criteria::Need;
use coldproof_evidence::{Expectations, record::RunContext};
use coldproof_machines::{
    deadline::Deadline,
    lease::Lease,
    ledger::Ledger,
    paths::Paths,
    provider::{Machine, MachineSpec, Origin, Priority, Start},
    receipt::Destroyed,
};
use rand::RngCore as _;
use tokio::sync::{OnceCell, watch};
use zeroize::Zeroizing;

use super::{
    Phase, Plan, RunError, Selection,
    budget::Beside,
    guest::{OBSERVER_PATH, Session},
    guest_network::GuestNetwork,
    known::KnownSecrets,
    machines::{Machines, maker},
    preflight,
    progress::Stopwatch,
};
use crate::{
    core_dumps,
    host::{HostDefinition, Original, Provider},
    sops::{CommittedValue, HeldKey, SopsRequest},
    source::SourceSpec,
    tools,
};

/// Everything that the lines of work of a run share.
pub(super) struct Setting<'a> {
    pub(super) host: &'a HostDefinition,
    pub(super) plan: &'a Plan,
    pub(super) selection: Selection,
    pub(super) stopwatch: Stopwatch<'a>,
    pub(super) expectations: Expectations,
    /// The host that is there already, where no machine is made for it.
    pub(super) original: Option<&'a Original>,
    context: RunContext,
    pub(super) source: SourceSpec,
    pub(super) network: GuestNetwork,
    /// The one secret.
    pub(super) key: Zeroizing<String>,
    /// The controller's own lease: private directories that must not outlive the run.
    pub(super) lease: Lease,
    /// A private directory of the lease.
    pub(super) work: PathBuf,
    /// The bundle in the making.
    pub(super) partial: PathBuf,
    hmac_key: Zeroizing<[u8; 32]>,
    ledger: Ledger,
    machines: OnceCell<Machines>,
    committed: watch::Sender<Option<Committed>>,
    /// Set before the commit is announced, so that whoever waited for that has it.
    known: OnceLock<KnownSecrets>,
    discarded: Mutex<Vec<Destroyed>>,
    pub(super) beside: Beside,
    /// Whether any machine was forked; one whose stage does not work boots instead.
    forked: AtomicBool,
}

/// How long one look from outside may take.
pub(super) const PROBE_LIMIT: Duration = Duration::from_secs(20);

/// What the controller's clone tells the machines.
#[derive(Clone)]
pub(super) struct Committed {
    /// The commit that this run is about.
    pub(super) commit: String,
    /// The leaf that git holds for TLS (DER), where one is declared and could be decrypted.
    pub(super) leaf: Option<Vec<u8>>,
}

impl<'a> Setting<'a> {
    pub(super) async fn prepare(
        host: &'a HostDefinition,
        plan: &'a Plan,
        stopwatch: Stopwatch<'a>,
    ) -> Result<Self, RunError> {
        let selection = plan.selection()?;
        let original = host.machine.original.as_ref().filter(|_| plan.provider(host) == Provider::Ssh);
        let selection = if original.is_some() { selection.of_an_original() } else { selection };
        // Before the first secret is read.
        core_dumps::forbid().map_err(RunError::io("forbidding core dumps"))?;
        let key = preflight::check(host, plan, &selection)?;
        let mut expectations = host.expectations();
        expectations.original = original.map(|original| original.ssh.destination.clone());
        if !plan.only.is_empty() && selection.needs(Need::Ordering) {
            // A machine more is made where the host definition asks for it, or who runs this does.
            expectations.shared.get_or_insert_default();
        }
        let paths = Paths::from_env();
        let run = random_hex::<8>();
        let ledger = Ledger::at(&paths.state);
        let mut lease = Lease::acquire(&ledger, &run, "controller")?;
        let work = paths.runtime.join(&run);
        lease.add_directory(work.clone())?;
        let partial = partial_beside(&plan.out)?;
        lease.add_directory(partial.clone())?;
        fs::create_dir(partial.join("attachments")).map_err(RunError::io("making the bundle's directory"))?;

        let source = SourceSpec::of(host)?;
        let network = GuestNetwork::open(&source, &host.allowed_egress, &work, lease.mark()).await?;
        let mut hmac_key = Zeroizing::new([0; 32]);
        rand::rng().fill_bytes(hmac_key.as_mut_slice());
        Ok(Self {
            context: context(host, plan, run),
            committed: watch::Sender::new(None),
            known: OnceLock::new(),
            discarded: Mutex::default(),
            beside: Beside::default(),
            forked: AtomicBool::new(false),
            host,
            plan,
            original,
            selection,
            stopwatch,
            expectations,
            source,
            network,
            key,
            lease,
            work,
            partial,
            hmac_key,
            ledger,
            machines: OnceCell::new(),
        })
    }

    /// Who makes the machines, and of what image.
    pub(super) async fn machines(&self) -> Result<&Machines, RunError> {
        self.machines.get_or_try_init(|| Machines::prepare(self.host, self.plan, &self.stopwatch)).await
    }

    /// Makes a machine that holds nothing of the host; see [`Self::machine_from`].
    pub(super) async fn machine(
        &self,
        name: &str,
        priority: Priority,
    ) -> Result<(Box<dyn Machine>, Session), RunError> {
        let origin = if self.plan.cold { Origin::Image } else { Origin::Blank };
        self.machine_from(origin, name, priority).await
    }

    /// Makes a machine of the host definition's size and waits until its guest takes commands.
    pub(super) async fn machine_from(
        &self,
        origin: Origin,
        name: &str,
        priority: Priority,
    ) -> Result<(Box<dyn Machine>, Session), RunError> {
        let machines = self.machines().await?;
        if self.host.machine.image.is_some() {
            // The commit is announced once the configuration was compared with what the image is to boot on.
            self.committed().await;
        }
        let spec = MachineSpec {
            name: format!("{}-{name}", self.host.host.name),
            memory: self.host.machine.memory.into(),
            cpus: self.host.machine.cpus.into(),
            disk: self.host.machine.disk.into(),
            forwards: self.host.forwards().into_iter().collect(),
            guest_services: self.network.guest_services(),
            origin,
            image: machines.image.machine_image(),
            priority,
        };
        machines.check_disk(&spec)?;
        let mut lease = Lease::acquire(&self.ledger, &self.context.run, &spec.name)?;
        self.admit(machines.provider.as_ref(), name, &mut lease).await?;
        // Neither building the image nor waiting for its turn is the machine's time.
        let deadline = Deadline::after(self.host.machine.deadline.into());
        let mut machine = machines.provider.create(&spec, lease, deadline).await?;
        self.admitted_by_provider(machine.as_ref());
        if matches!(machine.evidence().start, Start::Fork { .. }) {
            self.forked.store(true, Ordering::Relaxed);
        }
        let guest = machine.guest(deadline).await?;
        // A shell answers before the network is up. What failed while booting, the inventory will tell.
        guest.settle(deadline).await?;
        Ok((machine, Session { guest, deadline, observer: OBSERVER_PATH.to_owned() }))
    }

    /// Takes over every secret that this run knows, the decrypted values of git among them.
    pub(super) fn know(&self, values: Vec<CommittedValue>) -> Result<(), RunError> {
        let credential = self.network.git().secret();
        let known = KnownSecrets::new(self.host, &self.key, credential, values)?;
        // The controller's line of work comes by once.
        self.known.get_or_init(|| known);
        Ok(())
    }

    /// The secrets; none before the controller has decrypted them.
    pub(super) fn known(&self) -> Option<&KnownSecrets> {
        self.known.get()
    }

    /// Says what a phase is doing, in words of the guest's, without the secrets that may be in them.
    pub(super) fn detail(&self, phase: Phase, line: &str) {
        self.stopwatch.detail(phase, &self.clean(line));
    }

    /// A line of the guest's without the secrets that may be in it.
    pub(super) fn clean(&self, line: &str) -> String {
        self.known().and_then(|known| known.clean_line(line)).unwrap_or_else(|| line.to_owned())
    }

    /// Tells the machines what the controller cloned.
    pub(super) fn announce(&self, committed: Committed) {
        self.committed.send_replace(Some(committed));
    }

    /// What the controller cloned, as soon as it has.
    pub(super) async fn committed(&self) -> Committed {
        let mut receiver = self.committed.subscribe();
        let announced = receiver.wait_for(Option::is_some).await.ok().and_then(|committed| committed.clone());
        // The sender is part of `self`, so nobody can be left waiting for it in vain.
        announced.unwrap_or_else(|| unreachable!("the sender of the commit outlives its receivers"))
    }

    pub(super) fn keep(&self) -> bool {
        self.plan.keep
    }

    /// Leaves the machine running; returns its lease.
    pub(super) async fn keep_machine(&self, machine: Box<dyn Machine>) -> Result<String, RunError> {
        let lease = machine.keep().await?;
        self.stopwatch.note(&format!("kept: `coldproof machines shell {lease}` enters it,"));
        self.stopwatch.note(&format!("      `coldproof machines reap {lease}` removes it"));
        Ok(lease)
    }

    /// Where and on what the run happened.
    pub(super) fn context(&self) -> RunContext {
        let mut context = self.context.clone();
        if let Some(machines) = self.machines.get() {
            let capabilities = machines.provider.capabilities();
            context.provider = capabilities.provider;
            context.cold = !self.forked.load(Ordering::Relaxed);
            context.accelerator = capabilities.accelerator.name;
            context.image = Some(machines.image.digest());
            context.image_packages = machines.image.manifest().to_vec();
        }
        if self.original.is_some() {
            context.provider = Provider::Ssh.word().to_owned();
        }
        context
    }

    pub(super) fn run(&self) -> &str {
        &self.context.run
    }

    pub(super) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Ends everything that the run holds on the controller, and says what became of it.
    pub(super) fn release(self) -> (Stopwatch<'a>, Destroyed) {
        drop(self.network);
        (self.stopwatch, self.lease.release())
    }

    /// Destroys a machine that leaves no evidence, and remembers the receipt.
    pub(super) async fn discard(&self, machine: Box<dyn Machine>) -> Result<(), RunError> {
        let receipt = self.destroy(machine, None).await?;
        self.discarded.lock().unwrap_or_else(PoisonError::into_inner).push(receipt);
        Ok(())
    }

    /// What became of the machines that left no evidence.
    pub(super) fn receipts(&self) -> Vec<Destroyed> {
        self.discarded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn attachments(&self) -> PathBuf {
        self.partial.join("attachments")
    }

    pub(super) fn sops_request(&self) -> Result<SopsRequest<'_>, RunError> {
        let held = self.host.held_keys()?.into_iter();
        Ok(SopsRequest {
            sops: tools::sops()?,
            files: &self.host.sops_files,
            held: held.map(|(name, identity)| HeldKey { name: name.to_string(), identity }).collect(),
            hmac_key: &self.hmac_key,
            tls: self.host.tls.as_ref(),
            mark: self.lease.mark(),
        })
    }

    pub(super) fn hmac_key_hex(&self) -> String {
        hex::encode(self.hmac_key.as_slice())
    }

    /// Everything but the one secret that the guest was given from outside.
    pub(super) fn preconditions(&self) -> Vec<String> {
        let mut given = vec!["git credential, deleted after the clone".to_owned(), "observer binary".to_owned()];
        if !self.expectations.allowed_egress.is_empty() {
            given.push(format!("CONNECT proxy to {}", self.expectations.allowed_egress.join(", ")));
        }
        let instance = self.host.machine.incus.as_ref().filter(|_| maker(self.host, self.plan) == Provider::Incus);
        if instance.is_some_and(|settings| settings.user_data.is_some()) {
            given.push("cloud-init user-data".to_owned());
        }
        if let Some(fault) = &self.host.fault {
            given.push(format!("seeded fault {}", fault.name));
        }
        given
    }
}

/// Where the bundle is made: beside its place, so that it can be moved there in one step. Absolute, for the reaper.
fn partial_beside(out: &Path) -> Result<PathBuf, RunError> {
    let mut partial =
        std::path::absolute(out).map_err(RunError::io("finding the bundle's directory"))?.into_os_string();
    partial.push(".partial");
    Ok(partial.into())
}

fn context(host: &HostDefinition, plan: &Plan, run: String) -> RunContext {
    RunContext {
        run,
        coldproof: env!("CARGO_PKG_VERSION").to_owned(),
        provider: "none".to_owned(),
        cold: plan.cold,
        started_secs: now_secs(),
        fault: host.fault.as_ref().map(|fault| fault.name.to_string()),
        ..RunContext::default()
    }
}

fn now_secs() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Microseconds since the epoch, by this computer's clock.
pub(super) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn random_hex<const N: usize>() -> String {
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    hex::encode(bytes)
}
