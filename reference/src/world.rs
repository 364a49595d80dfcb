//! Writing a world: two repositories, an authority, keys, and the host definition that ties them together.

use std::{
    borrow::Cow,
    fs::{self, DirBuilder, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    Fault,
    draft::{Draft, Script, Stage, token},
    faults::Layer,
    git::{self, Commit, Entry, Tree},
    sops, swarm,
};

const GITMODULES: &str = "[submodule \"secrets\"]\n\tpath = secrets\n\turl = ../secrets.git\n\tbranch = main\n";

/// How to write a world.
#[derive(Clone, Copy, Debug)]
pub struct WorldOptions<'a> {
    /// The sops to encrypt with.
    pub sops: &'a Path,
    /// The fault to seed; none for a world in which every criterion holds.
    pub fault: Option<&'a Fault>,
    /// Whether the host decrypts with its own SSH key, and a blank machine is given that.
    pub by_host_key: bool,
    /// Whether the host runs a stack on a Docker swarm of its own as well.
    pub swarm: bool,
}

/// A world on disk.
#[derive(Clone, Debug)]
pub struct World {
    /// Where it is. It holds private keys and is readable by its owner only.
    pub dir: PathBuf,
}

impl World {
    /// The host definition.
    pub fn definition(&self) -> PathBuf {
        self.dir.join("coldproof.toml")
    }

    /// The bare repository that describes the host.
    pub fn base(&self) -> PathBuf {
        self.dir.join("base.git")
    }

    /// The bare repository of its secrets, a submodule of the other.
    pub fn secrets(&self) -> PathBuf {
        self.dir.join("secrets.git")
    }

    /// The operator's own checkout. Only some faults need one.
    pub(crate) fn operator(&self) -> PathBuf {
        self.dir.join("operator")
    }
}

/// Writes a fresh world into `dir`, which must be empty or not exist.
///
/// # Errors
/// If `dir` is not empty or cannot be written, or git or sops fails.
pub fn write(dir: &Path, options: &WorldOptions<'_>) -> Result<World> {
    let world = World { dir: claim_directory(dir)? };
    let mut draft = Draft::new()?;
    if options.by_host_key {
        draft.bootstrap_by_host_key().context("cannot have the host decrypt with its SSH key")?;
    }
    if options.swarm {
        swarm::add(&mut draft).context("cannot have the host run a swarm")?;
    }
    if let Some(fault) = options.fault {
        (fault.how)(&mut draft).with_context(|| format!("cannot seed the fault {}", fault.name))?;
    }
    let secrets = write_secrets(&world, &draft, options.sops)?;
    write_base(&world, &draft, secrets)?;
    write_files(&world, &draft)?;
    if let (Some(script), Some(fault)) = (&draft.script, options.fault) {
        write_script(&world.definition(), "fault.sh", script, fault)?;
    }
    if let Some(finish) = draft.finish {
        finish(&world)?;
    }
    Ok(world)
}

/// Seeds the fault in a machine of a sound world that was written into `dir`, where that takes no more than a script after
/// the switch: writes another host definition beside the world's own, and returns its path. `None` for any other fault.
///
/// # Errors
/// If the world cannot be read or written.
pub fn seed_after_switch(dir: &Path, fault: &Fault) -> Result<Option<PathBuf>> {
    let mut draft = Draft::new()?;
    (fault.how)(&mut draft)?;
    let of_any_world = |script: &Script| script.stage == Stage::Switched && matches!(script.text, Cow::Borrowed(_));
    let Some(script) = draft.script.filter(|script| fault.layer == Layer::Guest && of_any_world(script)) else {
        return Ok(None);
    };
    let world = World { dir: dir.to_owned() };
    let (definition, file) = (dir.join(format!("{}.toml", fault.name)), format!("{}.sh", fault.name));
    fs::copy(world.definition(), &definition)?;
    write_script(&definition, &file, &script, fault)?;
    Ok(Some(definition))
}

/// Makes `dir` where it does not exist, for its owner only, and returns its absolute path.
fn claim_directory(dir: &Path) -> Result<PathBuf> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("cannot create {}", dir.display()))?;
    let mut entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    if entries.next().is_some() {
        bail!("{} is not empty: name a directory that does not exist yet", dir.display());
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    Ok(dir.canonicalize()?)
}

/// Writes `secrets.git` and returns the commits that the host's repository is to pin, one after the other.
fn write_secrets(world: &World, draft: &Draft, sops: &Path) -> Result<[String; 2]> {
    let mut earlier = draft.secrets.clone();
    earlier.insert("bridge_token".into(), token());
    let mut commits = Vec::new();
    for (message, secrets) in [("Encrypt the secrets", &earlier), ("Rotate the bridge's token", &draft.secrets)] {
        let mut encrypted = sops::encrypt(sops, &world.dir, &draft.creation_rules, secrets)?;
        if let Some(tamper) = draft.tamper {
            encrypted = tamper(&encrypted)?;
        }
        let tree = Tree::from([
            (".sops.yaml".into(), Entry::File(draft.creation_rules.clone().into_bytes())),
            ("secrets.yaml".into(), Entry::File(encrypted.into_bytes())),
        ]);
        commits.push(Commit { message, tree });
    }
    let ids = git::create_bare(&world.secrets(), &commits)?;
    let [earlier, tip] = ids.as_slice() else { bail!("secrets.git has {} commits, not 2", ids.len()) };
    Ok([earlier, if draft.old_gitlink { earlier } else { tip }].map(Clone::clone))
}

/// The last commit is the one that is proven; the one before it is a whole host as well.
fn write_base(world: &World, draft: &Draft, [earlier, last]: [String; 2]) -> Result<()> {
    let file = |(path, text): (&String, &String)| (path.clone(), Entry::File(text.clone().into_bytes()));
    let mut flake: Tree = draft.base.iter().map(file).collect();
    flake.extend(draft.earlier.iter().map(file));
    let submodule = Tree::from([
        (".gitmodules".into(), Entry::File(GITMODULES.into())),
        ("secrets".into(), Entry::Gitlink(earlier)),
    ]);
    let mut rotated: Tree = draft.earlier.keys().filter_map(|path| draft.base.get_key_value(path)).map(file).collect();
    rotated.insert("secrets".into(), Entry::Gitlink(last));
    let commits = [
        Commit { message: "Describe the host", tree: flake },
        Commit { message: "Pin the secrets", tree: submodule },
        Commit { message: "Rotate the bridge's token", tree: rotated },
    ];
    git::create_bare(&world.base(), &commits)?;
    Ok(())
}

fn write_files(world: &World, draft: &Draft) -> Result<()> {
    let (root_key, intermediate_key) = draft.authority.keys();
    let public = [
        ("coldproof.toml", draft.definition.clone()),
        ("ca/root.pem", draft.authority.root_pem()),
        ("ca/intermediate.pem", draft.authority.intermediate_pem()),
    ];
    let private = [
        ("keys/recovery.txt", draft.recovery.key_file()),
        ("keys/ssh_host_ed25519_key", draft.host_key.private.clone()),
        ("keys/ca-root.key", root_key),
        ("keys/ca-intermediate.key", intermediate_key),
    ];
    for directory in ["ca", "keys"] {
        DirBuilder::new().mode(0o700).create(world.dir.join(directory))?;
    }
    for (path, text) in &public {
        write_file(&world.dir.join(path), text, 0o644)?;
    }
    for (path, text) in &private {
        write_file(&world.dir.join(path), text, 0o600)?;
    }
    write_file(&world.dir.join("keys/ssh_host_ed25519_key.pub"), &format!("{}\n", draft.host_key.public), 0o644)?;
    Ok(())
}

/// Writes the script into `file` beside the host definition, and has that say when it is run.
fn write_script(definition: &Path, file: &str, script: &Script, fault: &Fault) -> Result<()> {
    write_file(&definition.with_file_name(file), &script.text, 0o755)?;
    let mut definition = OpenOptions::new().append(true).open(definition)?;
    let (name, stage) = (fault.name, script.stage.name());
    Ok(write!(
        definition,
        "\n# {}\n[fault]\nname = \"{name}\"\nstage = \"{stage}\"\nscript = \"{file}\"\n",
        fault.summary
    )?)
}

fn write_file(path: &Path, text: &str, mode: u32) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}
