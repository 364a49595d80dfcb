//! The variant of the reference host that runs a stack on a Docker swarm of its own.

use anyhow::{Context as _, Result};
use include_dir::{Dir, include_dir};

use crate::draft::{Draft, HOST_FILE};

static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/swarm");
/// Where they are in the host's repository.
const DIRECTORY: &str = "hosts/cc-ci/swarm";
/// What deploys the stack.
pub(crate) const DEPLOY: &str = "hosts/cc-ci/swarm/deploy.sh";
/// The stack.
pub(crate) const STACK: &str = "hosts/cc-ci/swarm/stack.yaml";

/// What the blank machine needs besides.
const PACKAGES: &str = "packages = [\"docker-cli\", \"docker.io\"]";

/// Ports of the swarm itself, which only its own node reaches.
const WAIVERS: &str =
    "    { what = \"listener:2377\", reason = \"the swarm's manager, on a link that leads nowhere\" },
    { what = \"listener:7946\", reason = \"the swarm's gossip, on a link that leads nowhere\" },
    { what = \"listener:4789\", reason = \"the swarm's overlay networks, which have one node\" },
";

const SERVICES: &str = "
[services.containerd]
unit = \"containerd.service\"
state = \"active\"

[services.docker]
unit = \"docker.service\"
state = \"active\"

[services.stack-ci]
unit = \"stack-ci.service\"
state = \"active\"

[services.apps]
stack = \"ci\"
replicas = 3
";

/// Has the host run a stack of two services on a swarm of its own, and the host definition declare it.
pub(crate) fn add(draft: &mut Draft) -> Result<()> {
    for file in FILES.files() {
        let name = file.path().to_str().context("a path of the swarm's files is not UTF-8")?;
        let text = file.contents_utf8().with_context(|| format!("{name} is not UTF-8"))?;
        draft.base.insert(format!("{DIRECTORY}/{name}"), text.to_owned());
    }
    draft.edit(HOST_FILE, "in\n{\n  networking = {", "in\n{\n  imports = [ ./swarm ];\n\n  networking = {")?;
    draft.edit_definition(
        "disk = \"8GiB\"\ndeadline = \"10m\"",
        &format!("disk = \"8GiB\"\n{PACKAGES}\ndeadline = \"20m\""),
    )?;
    draft.edit_definition("waive = [\n", &format!("waive = [\n{WAIVERS}"))?;
    draft.definition.push_str(SERVICES);
    Ok(())
}
