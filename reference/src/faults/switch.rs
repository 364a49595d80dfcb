//! Faults in what is committed that only a switch of their own brings out.

use anyhow::{Context as _, Result};

use super::{Fault, Layer};
use crate::{
    draft::{Draft, HOST_FILE},
    swarm,
};

/// What the reconcilers run.
const RECONCILE: &str = "hosts/cc-ci/reconcile.sh";
/// Where its work begins.
const FETCH: &str = "[[ -d $state/catalogue ]] || fetch";
/// Their order, as it should be.
const DECLARED_ORDER: &str = "after = predecessors \"deploy-${app}\";";

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "reconcilers-unordered",
        layer: Layer::Switch,
        criterion: &[
            "convergence.one-switch",
            "convergence.no-failures",
            "convergence.running",
            "ordering.race-free",
            "services.units",
        ],
        summary: "units that share a lock directory start at once: a fresh switch fails, a second one heals it",
        how: unordered,
    },
    Fault {
        name: "reconcilers-chained",
        layer: Layer::Switch,
        criterion: &["ordering.race-free"],
        summary: "units that share a directory name the one before them only: a later switch that restarts two of them races",
        how: chained,
    },
    Fault {
        name: "activation-snippet-fails",
        layer: Layer::Switch,
        criterion: &["convergence.one-switch"],
        summary: "an activation snippet reads what a unit writes only later, so it fails the first time",
        how: |draft| activation_snippet(draft, "motd", "grep -q dashboard /var/lib/ci-state/www/index.html"),
    },
    Fault {
        name: "unit-heals-by-restart",
        layer: Layer::Switch,
        criterion: &["convergence.no-failures"],
        summary: "a unit fails, and restarts itself into success before the switch ends",
        how: |draft| {
            // The second of the units: the catalogue is there, and what follows leaves the restart its time.
            let fails_once = "/bin/bash -c 'test -e /run/ci-warm || { touch /run/ci-warm; exit 1; }'";
            let settings =
                format!("Restart = \"on-failure\"; RestartSec = \"10ms\"; ExecStartPre = \"{fails_once}\"; ");
            serve(draft, "drone", &settings)
        },
    },
    Fault {
        name: "oneshot-skipped",
        layer: Layer::Switch,
        criterion: &["convergence.running", "services.units"],
        summary: "a declared oneshot is skipped by a condition of its own",
        how: |draft| {
            let condition = "ConditionPathExists = \"/etc/ci/backups-are-on\";";
            let declared = "      environment.CATALOGUE = catalogue;";
            let skipped =
                format!("      unitConfig = if app == \"backupbot\" then {{ {condition} }} else {{ }};\n{declared}");
            draft.edit(HOST_FILE, declared, &skipped)
        },
    },
    Fault {
        name: "drop-in-timestamped",
        layer: Layer::Switch,
        criterion: &["convergence.idempotent"],
        summary: "every activation writes the time into a drop-in of a unit",
        how: |draft| {
            let drop_in = "/etc/systemd/system/nginx.service.d";
            let write = format!("mkdir -p {drop_in}; date '+# activated at %s.%N' > {drop_in}/activated.conf");
            activation_snippet(draft, "stamp", &write)
        },
    },
    Fault {
        name: "build-varies",
        layer: Layer::Switch,
        criterion: &["identity.reproduced", "identity.deterministic"],
        summary: "a file of the closure has the time of its build in it",
        how: |draft| {
            let last = "    git update-ref refs/heads/main";
            draft.edit(HOST_FILE, last, &format!("    date '+built at %s.%N' > $out/description\n{last}"))
        },
    },
    Fault {
        name: "revision-in-closure",
        layer: Layer::Switch,
        criterion: &["identity.source-forms"],
        summary: "the flake builds its own git revision into the system, so that a plain directory builds another one",
        how: |draft| {
            let host = "modules = [ (./hosts + \"/${name}\") ];";
            let version = "{ system.nixos.version = \"coldproof-reference-1-${self.shortRev or \"unknown\"}\"; }";
            draft.edit("flake.nix", host, &host.replace(" ];", &format!(" {version} ];")))
        },
    },
    Fault {
        name: "state-gone-at-reboot",
        layer: Layer::Switch,
        criterion: &["lifecycle.reboot"],
        summary: "a unit needs a file under /run that an activation makes the first time only, so that no reboot has it",
        how: |draft| {
            let once = "test -e /var/lib/ci-installed || { touch /run/ci-bridge.sock; touch /var/lib/ci-installed; }";
            activation_snippet(draft, "bridge", once)?;
            serve(draft, "bridge", "ExecStartPre = \"/usr/bin/test -e /run/ci-bridge.sock\"; ")
        },
    },
    Fault {
        name: "sized-at-first-start",
        layer: Layer::Switch,
        criterion: &["lifecycle.resize"],
        summary: "an app is set up for the memory that it finds at its first start, and refuses to start with much more",
        how: |draft| {
            let refuse = "{ echo 'drone: its cache was made for another machine' >&2; exit 1; }";
            let sized = format!(
                "if [[ $app == drone ]]; then\n  \
                 read -r _ memory _ </proc/meminfo\n  \
                 [[ -e $state/memory ]] || echo \"$memory\" >\"$state/memory\"\n  \
                 read -r sized <\"$state/memory\"\n  \
                 ((memory < sized + sized / 8)) || {refuse}\nfi\n"
            );
            draft.edit(RECONCILE, FETCH, &format!("{sized}{FETCH}"))
        },
    },
    Fault {
        name: "migration-missing",
        layer: Layer::Switch,
        criterion: &["lifecycle.upgrade"],
        summary: "an app keeps its state in another form than before, and cannot start with what the previous revision left",
        how: |draft| {
            let sound = draft.base.get(RECONCILE).context("the reference host has this script")?.clone();
            let earlier = in_last_reconciler("touch \"$state/format-1\"");
            draft.earlier.insert(RECONCILE.into(), sound.replace(FETCH, &earlier));
            in_backupbot(draft, "[[ ! -e $state/format-1 ]] || { echo 'the state is of an older form' >&2; exit 1; }")
        },
    },
    Fault {
        name: "memory-nearly-exhausted",
        layer: Layer::Switch,
        criterion: &["resources.peak-memory"],
        summary: "an app fills nearly all of the memory for a moment while it is set up",
        how: |draft| {
            // A file in a RAM file system that nobody else sees: taken and given back at once.
            let fill = "unshare --mount bash -euc '\n  \
                 mount -t tmpfs -o size=100% tmpfs /mnt\n  \
                 while read -r name kibibytes _; do [[ $name != MemAvailable: ]] || fallocate -l $((kibibytes * 31 / 32))K /mnt/cache; done </proc/meminfo\n  \
                 sleep 1'";
            in_backupbot(draft, fill)
        },
    },
    Fault {
        name: "disk-nearly-filled",
        layer: Layer::Switch,
        criterion: &["resources.peak-disk"],
        summary: "an app fills nearly all of the disk for a moment while it is set up",
        how: |draft| {
            let fill = "free=$(stat --file-system --format='%a * %S' \"$state\")\n  \
                 fallocate -l $((free * 31 / 32)) \"$state/backup\"\n  \
                 sleep 1\n  \
                 rm \"$state/backup\"";
            in_backupbot(draft, fill)
        },
    },
    Fault {
        name: "unit-calls-out",
        layer: Layer::Switch,
        criterion: &["isolation.egress"],
        summary: "a unit tries to reach an address that nobody declared, and succeeds without it",
        how: |draft| {
            // An address of TEST-NET-2 (RFC 5737), which nobody has.
            let call = "timeout 1 bash -c ': <>/dev/tcp/198.51.100.7/443' || true";
            draft.edit(
                RECONCILE,
                "[[ -d $state/catalogue ]] || fetch",
                &format!("[[ $app != backupbot ]] || {call}\n[[ -d $state/catalogue ]] || fetch"),
            )
        },
    },
    Fault {
        name: "secret-in-store",
        layer: Layer::Switch,
        criterion: &["leaks.none"],
        summary: "a unit is committed with the value of a secret in a command, so that it is built into the store",
        how: |draft| {
            let value = draft.secrets.get("registry_password").context("the reference host has this secret")?;
            let settings = format!("ExecStartPre = \"/bin/true --password={}\"; ", value.as_str());
            serve(draft, "proxy", &settings)
        },
    },
    Fault {
        name: "configuration-misspelt",
        layer: Layer::Switch,
        criterion: &["convergence.one-switch"],
        summary: "an option of the committed configuration is misspelt, so that nothing is built",
        how: |draft| draft.edit(HOST_FILE, "    hostName = ", "    hostname = "),
    },
    Fault {
        name: "timer-not-wanted",
        layer: Layer::Switch,
        criterion: &["convergence.running", "services.units"],
        summary: "a declared timer is wanted by nothing, so that the switch does not start it",
        how: |draft| {
            let timer = "systemd.timers.backup.timerConfig.OnCalendar = \"daily\";";
            draft.declare(&format!("  {timer}"))?;
            add_service(draft, "backup", "serviceConfig = { Type = \"oneshot\"; ExecStart = \"/bin/true\"; };")?;
            let declared = "[services.backup]\nunit = \"backup.timer\"\nstate = \"active\"\n\n";
            draft.edit_definition("[services.deploy-proxy]", &format!("{declared}[services.deploy-proxy]"))
        },
    },
    Fault {
        name: "unit-undeclared",
        layer: Layer::Switch,
        criterion: &["coverage.complete"],
        summary: "the configuration starts a unit that the host definition does not name",
        how: |draft| {
            let settings = "wantedBy = [ \"multi-user.target\" ]; serviceConfig.ExecStart = \"/bin/sleep infinity\";";
            add_service(draft, "metrics", settings)
        },
    },
    Fault {
        name: "activation-not-repeatable",
        layer: Layer::Switch,
        criterion: &["convergence.idempotent"],
        summary: "an activation snippet makes a directory, and fails where it is already there",
        how: |draft| activation_snippet(draft, "migrate", "mkdir /var/lib/ci-migrated"),
    },
    Fault {
        name: "secret-mode-drifts",
        layer: Layer::Switch,
        criterion: &["convergence.idempotent"],
        summary: "every activation but the first lets everybody read a secret",
        how: |draft| {
            let share =
                "[[ ! -e /var/lib/ci-shared ]] || chmod 0444 /run/secrets/registry_password; touch /var/lib/ci-shared";
            let snippet = format!("{{ deps = [ \"setupSecrets\" ]; text = ''{share}''; }}");
            draft.declare(&format!("  system.activationScripts.share = {snippet};"))
        },
    },
    Fault {
        name: "reference-toplevel-old",
        layer: Layer::Switch,
        criterion: &["identity.original"],
        summary: "the original is said to run a toplevel that the revision does not build",
        how: |draft| {
            let old = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-cc-ci-coldproof-reference-0";
            draft.edit_definition("[host]\n", &format!("[host]\ntoplevel = \"{old}\"\n"))
        },
    },
    Fault {
        name: "secret-in-unit-environment",
        layer: Layer::Switch,
        criterion: &["source.no-credentials", "leaks.none"],
        summary: "a unit is committed with a password in its environment",
        how: |draft| {
            let value = draft.secrets.get("registry_password").context("the reference host has this secret")?;
            let password = format!("{{ REGISTRY_PASSWORD = \"{}\"; }}", value.as_str());
            let declared = "      environment.CATALOGUE = catalogue;";
            let with_password = format!(
                "      environment = {{ CATALOGUE = catalogue; }} // (if app == \"proxy\" then {password} else {{ }});"
            );
            draft.edit(HOST_FILE, declared, &with_password)
        },
    },
    Fault {
        name: "stack-short-of-replicas",
        layer: Layer::Switch,
        criterion: &["services.stacks"],
        summary: "a service of a stack wants a node that the swarm does not have, and what deploys the stack does not wait for it",
        how: |draft| {
            swarm::add(draft)?;
            let nowhere = "      placement:\n        constraints: [node.labels.disk == fast]\n";
            draft.edit(swarm::STACK, "      replicas: 1\n", &format!("      replicas: 1\n{nowhere}"))?;
            draft.edit(swarm::DEPLOY, "--detach=false", "--detach=true")
        },
    },
];

/// No reconciler has an order. One waits for the lock, so that its page is served whoever wins: what fails is certain.
fn unordered(draft: &mut Draft) -> Result<()> {
    ordering_is_judged(draft);
    draft.edit(HOST_FILE, DECLARED_ORDER, "after = [ ];")?;
    draft.edit(
        RECONCILE,
        "  mkdir \"$state/catalogue.lock\" || { echo",
        "  until mkdir \"$state/catalogue.lock\" 2>/dev/null; do\n    \
         [[ $app != dashboard ]] || { sleep 0.1; continue; }\n    echo",
    )?;
    draft.edit(
        RECONCILE,
        "another reconciler is cloning the catalogue\" >&2; exit 1; }",
        "another reconciler is cloning the catalogue\" >&2\n    exit 1\n  done",
    )?;
    // On a quick computer that is busy, one clone would be over before the next unit has started.
    let held = "' EXIT\n  [[ $app != dashboard || ! -d $state/catalogue ]] || return 0\n  sleep 1\n";
    draft.edit(RECONCILE, "' EXIT\n", held)
}

/// The host definition asks for the order among units, which costs a machine.
fn ordering_is_judged(draft: &mut Draft) {
    draft.definition.push_str("\n[ordering]\n");
}

/// Each names the one before it alone.
fn chained(draft: &mut Draft) -> Result<()> {
    ordering_is_judged(draft);
    let last = "let all = predecessors \"deploy-${app}\"; count = builtins.length all; in \
                if count == 0 then [ ] else [ (builtins.elemAt all (count - 1)) ]";
    draft.edit(HOST_FILE, DECLARED_ORDER, &format!("after = {last};"))
}

/// Adds a service to those that the host declares.
fn add_service(draft: &mut Draft, name: &str, settings: &str) -> Result<()> {
    let first = "    nginx = {\n      description";
    draft.edit(HOST_FILE, first, &format!("    {name} = {{ {settings} }};\n{first}"))
}

fn activation_snippet(draft: &mut Draft, name: &str, script: &str) -> Result<()> {
    draft.declare(&format!(
        "  system.activationScripts.{name} = {{ deps = [ \"etc\" ]; text = ''\n    {script}\n  ''; }};"
    ))
}

/// Has the last reconciler run a script before its work.
fn in_backupbot(draft: &mut Draft, script: &str) -> Result<()> {
    draft.edit(RECONCILE, FETCH, &in_last_reconciler(script))
}

fn in_last_reconciler(script: &str) -> String {
    format!("if [[ $app == backupbot ]]; then\n  {script}\nfi\n{FETCH}")
}

/// Adds settings to `serviceConfig` of one reconciler.
fn serve(draft: &mut Draft, app: &str, settings: &str) -> Result<()> {
    let config = "      serviceConfig = {\n        Type = \"oneshot\";";
    draft.edit(
        HOST_FILE,
        config,
        &format!("      serviceConfig = (if app == \"{app}\" then {{ {settings}}} else {{ }}) // {{\n        Type = \"oneshot\";"),
    )
}
