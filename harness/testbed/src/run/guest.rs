//! What is done inside a guest: each function is one command, and its failure names the step.

use coldproof_evidence::{
    guest::{DeliveredFile, DeliveredSecret, Inventory, StorePathObservation, SystemObservation},
    leaks::LeaksObservation,
    request::{ClosureRequest, InventoryRequest, ObserveRequest},
};
use coldproof_leaks::LeaksRequest;
use coldproof_machines::{
    deadline::Deadline,
    guest::{Guest, GuestCommand},
};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::{RunError, guest_network::GuestNetwork};
use crate::{observer_binary::OBSERVER, sops::recipients};

/// The harness's own directory in the guest: on a RAM file system, private.
pub(super) const DIR: &str = "/run/coldproof";
/// The fresh recursive clone in the guest.
pub(super) const CHECKOUT: &str = "/var/lib/coldproof/checkout";
pub(super) const OBSERVER_PATH: &str = "/run/coldproof/observer";
const GIT_CONFIG: &str = "/run/coldproof/gitconfig";

/// A distribution's own initial RAM disk may mount /run so that no program runs from it, as Debian's does; NixOS does not.
const INSTALL_OBSERVER: &str = "install -d -m0700 \"${1%/*}\"
case ,$(findmnt -nro OPTIONS -T \"${1%/*}\"), in
    *,noexec,*) mount -o remount,exec \"$(findmnt -nro TARGET -T \"${1%/*}\")\" ;;
esac
exec install -m0700 /dev/stdin \"$1\"";

/// Where a NixOS guest, and the reference image, keep their programs.
pub(super) const PATH: &str = "/run/current-system/sw/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A guest that takes commands, with the time until which it may.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) guest: Guest,
    pub(super) deadline: Deadline,
    /// Where the observer is put.
    pub(super) observer: String,
}

impl Session {
    /// Runs a command whose failure ends the run.
    pub(super) async fn must(&self, step: &str, command: &GuestCommand) -> Result<Vec<u8>, RunError> {
        let output = self.guest.run(command, self.deadline).await?;
        if output.success() {
            return Ok(output.stdout);
        }
        Err(RunError::Guest {
            step: step.to_owned(),
            status: output.status,
            words: last_lines(&output.stderr_text(), &output.stdout_text()),
        })
    }

    /// Runs a bash script with positional arguments; see [`Self::must`].
    pub(super) async fn script(&self, step: &str, script: &str, args: &[&str]) -> Result<Vec<u8>, RunError> {
        let argv = ["bash", "-euc", script, "bash"];
        self.must(step, &GuestCommand::new(argv.iter().chain(args).copied())).await
    }

    /// Puts the observer where it can be run.
    pub(super) async fn install_observer(&self) -> Result<(), RunError> {
        let command = GuestCommand::new(["bash", "-euc", INSTALL_OBSERVER, "bash", &self.observer])
            .with_stdin(Zeroizing::new(OBSERVER.to_vec()));
        self.must("installing the observer", &command).await.map(drop)
    }

    /// One round trip of the observer.
    async fn observer<T: DeserializeOwned>(&self, subcommand: &str, request: &impl Serialize) -> Result<T, RunError> {
        let step = format!("observer {subcommand}");
        let malformed = |source| RunError::Observer { subcommand: subcommand.to_owned(), source };
        let request = Zeroizing::new(serde_json::to_vec(request).map_err(malformed)?);
        let command = GuestCommand::new([&self.observer, subcommand]).with_stdin(request);
        serde_json::from_slice(&self.must(&step, &command).await?).map_err(malformed)
    }

    /// Looks at the blank machine.
    pub(super) async fn inventory(&self, request: &InventoryRequest) -> Result<Inventory, RunError> {
        self.observer("inventory", request).await
    }

    /// Brings back every fact but the closure's bytes.
    pub(super) async fn observe(&self, request: &ObserveRequest) -> Result<SystemObservation, RunError> {
        self.observer("observe", request).await
    }

    /// Looks for secrets wherever the guest keeps things.
    pub(super) async fn leaks(&self, request: &LeaksRequest) -> Result<LeaksObservation, RunError> {
        self.observer("leaks", request).await
    }

    /// Hashes every path of a closure again.
    pub(super) async fn closure(&self, path: &str) -> Result<Vec<StorePathObservation>, RunError> {
        let request = ClosureRequest { path: path.to_owned() };
        self.observer("closure", &request).await
    }

    /// Delivers the one secret: by standard input, into a file that only root can read. Looks at it again.
    pub(super) async fn deliver_key(&self, key: &Zeroizing<String>, path: &str) -> Result<DeliveredSecret, RunError> {
        self.key("deliver", key, path).await
    }

    /// Looks at the delivered secret once more.
    pub(super) async fn delivered_key(&self, key: &Zeroizing<String>, path: &str) -> Result<DeliveredSecret, RunError> {
        self.key("delivered", key, path).await
    }

    /// The key's bytes are compared in the guest, so that they need not travel back.
    async fn key(&self, subcommand: &str, key: &Zeroizing<String>, path: &str) -> Result<DeliveredSecret, RunError> {
        let command =
            GuestCommand::new([&self.observer, subcommand, path]).with_stdin(Zeroizing::new(key.as_bytes().to_vec()));
        let answer = self.must("delivering the key", &command).await?;
        let found: DeliveredFile = serde_json::from_slice(&answer)
            .map_err(|source| RunError::Observer { subcommand: subcommand.to_owned(), source })?;
        Ok(DeliveredSecret {
            name: "age key".to_owned(),
            channel: "stdin".to_owned(),
            path: path.to_owned(),
            mode: found.mode,
            owner: found.owner,
            recipient: recipients::of_identity(key).unwrap_or_else(|error| error.to_string()),
            intact: found.intact,
        })
    }

    /// Clones the repositories recursively with the credential in a private file, which is deleted afterwards.
    pub(super) async fn clone_host(&self, network: &GuestNetwork, commit: &str) -> Result<(), RunError> {
        self.guest.push(network.guest_git_config(), GIT_CONFIG, 0o400, self.deadline).await?;
        self.script(
            "cloning the repositories",
            "trap 'rm -f \"$1\"' EXIT
             export GIT_CONFIG_GLOBAL=$1 GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0 GIT_ALLOW_PROTOCOL=http:https
             mkdir -p \"${4%/*}\"
             git clone --quiet --no-checkout \"$2\" \"$4\"
             cd \"$4\"
             git -c advice.detachedHead=false checkout --quiet \"$3\"
             git submodule --quiet update --init --recursive",
            &[GIT_CONFIG, &network.guest_url(), commit, CHECKOUT],
        )
        .await
        .map(drop)
    }

    /// Runs a seeded fault's script.
    pub(super) async fn inject(&self, script: &str) -> Result<(), RunError> {
        let command =
            GuestCommand::new(["bash", "-eu", "/dev/stdin"]).with_stdin(Zeroizing::new(script.as_bytes().to_vec()));
        self.must("injecting the seeded fault", &command).await.map(drop)
    }
}

/// The last lines that a failed command said, standard error first.
pub(super) fn last_lines(stderr: &str, stdout: &str) -> String {
    let said = if stderr.trim().is_empty() { stdout } else { stderr };
    let lines: Vec<&str> = said.trim().lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}
