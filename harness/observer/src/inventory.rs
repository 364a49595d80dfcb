//! What a machine holds that calls itself blank.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use coldproof_evidence::{
    guest::{Inventory, OwnHostKey},
    request::InventoryRequest,
};

use crate::{bus::Bus, manager, search};

/// How long a boot that is under way is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
const STATE: &str = "/var/lib";
const STORE: &str = "/nix/store";
const PROFILES: &str = "/nix/var/nix/profiles";

/// What the base system itself keeps in `/var/lib` without any package owning it: systemd's directories, its and
/// shadow's records of logins, Debian's record of shells, and the numbers that NixOS gives to accounts.
const BASE_STATE: &[&str] =
    &["lastlog", "lastlog2", "machines", "nixos", "portables", "private", "shells.state", "systemd", "wtmpdb"];

/// Takes the inventory once the machine has booted.
pub(crate) fn observe(request: &InventoryRequest) -> anyhow::Result<Inventory> {
    let mut bus = Bus::connect()?;
    manager::settle(&mut bus, PATIENCE)?;
    let units = manager::list_units(&mut bus)?;
    let failed = units.into_iter().filter(|unit| unit.active_state == "failed");
    let mut found = search::search();
    if exists(&request.bootstrap_path) {
        found.keys.insert(request.bootstrap_path.clone());
    }
    let own_host_keys: Vec<_> = found.keys.iter().filter_map(|path| own_host_key(Path::new(path), booted())).collect();
    found.keys.retain(|path| own_host_keys.iter().all(|key| key.path != *path));
    Ok(Inventory {
        keys: found.keys.into_iter().collect(),
        own_host_keys,
        checkouts: found.checkouts.into_iter().collect(),
        known_hosts: found.known_hosts.into_iter().collect(),
        store_paths: children(STORE, |name| !name.starts_with('.')),
        state: state(&request.secret_paths),
        failed_units: failed.map(|unit| unit.name).collect(),
        system_state: manager::system_state(&mut bus)?,
        generations: children(PROFILES, |name| name.starts_with("system")),
        kernel: line_of("/proc/sys/kernel/osrelease"),
        os: pretty_name(&fs::read_to_string("/etc/os-release").unwrap_or_default()),
        boot_id: line_of("/proc/sys/kernel/random/boot_id"),
    })
}

/// A host key of sshd that came into being since `booted`, for instance by `ssh-keygen -A`.
fn own_host_key(path: &Path, booted: SystemTime) -> Option<OwnHostKey> {
    let is_host_key = path.parent()?.ends_with("ssh") && path.file_name()?.to_str()?.starts_with("ssh_host_");
    if !is_host_key || fs::metadata(path).ok()?.created().ok()? < booted {
        return None;
    }
    let public = fs::read_to_string(path.with_extension("pub")).ok()?.trim().to_owned();
    Some(OwnHostKey { path: path.to_string_lossy().into_owned(), public, recipient: None })
}

/// When the kernel started, by proc_stat(5).
fn booted() -> SystemTime {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
    // Without it, nothing counts as made since.
    seconds.map_or_else(SystemTime::now, |seconds| UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Secret paths that exist, and entries of `/var/lib` that neither a package nor the base system explains.
fn state(secret_paths: &[String]) -> Vec<String> {
    let owned = package_owned(Path::new("/var/lib/dpkg/info"));
    let foreign = children(STATE, |name| !BASE_STATE.contains(&name) && !owned.contains(&format!("{STATE}/{name}")));
    let secrets = ["/run/secrets", "/run/secrets.d"].into_iter().chain(secret_paths.iter().map(String::as_str));
    let secrets = secrets.filter(|path| exists(path)).map(str::to_owned);
    secrets.chain(foreign).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The entries of `/var/lib` that Debian's packages own, from the lists that dpkg keeps; none on another system.
fn package_owned(lists: &Path) -> HashSet<String> {
    let files = fs::read_dir(lists).into_iter().flatten().flatten().map(|entry| entry.path());
    let lists = files.filter(|path| path.extension().is_some_and(|extension| extension == "list"));
    let texts = lists.map(|path| fs::read_to_string(path).unwrap_or_default());
    texts.flat_map(|text| text.lines().filter_map(state_entry).collect::<Vec<_>>()).collect()
}

fn state_entry(line: &str) -> Option<String> {
    let name = line.strip_prefix(STATE)?.strip_prefix('/')?;
    Some(format!("{STATE}/{}", name.split('/').next()?))
}

/// A dangling link is there as well.
fn exists(path: &str) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn children(directory: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut paths: Vec<_> = names.filter(|name| wanted(name)).map(|name| format!("{directory}/{name}")).collect();
    paths.sort();
    paths
}

fn line_of(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn pretty_name(os_release: &str) -> String {
    let name = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or_default().trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_owns_the_directories_above_its_files() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("nginx.list"), "/.\n/var\n/var/lib\n/var/lib/nginx\n/var/lib/nginx/body\n").unwrap();
        fs::write(dir.path().join("git.list"), "/usr/bin/git\n/var/library\n").unwrap();
        fs::write(dir.path().join("git.md5sums"), "/var/lib/no-list\n").unwrap();
        assert_eq!(package_owned(dir.path()), ["/var/lib/nginx".to_owned()].into());
    }

    #[test]
    fn a_host_key_is_the_machine_s_own_if_it_was_made_since_the_boot() {
        let dir = tempfile::tempdir().unwrap();
        let key = |name: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "private").unwrap();
            fs::write(path.with_extension("pub"), "ssh-ed25519 AAAA root\n").unwrap();
            path
        };
        let (host, user) = (key("etc/ssh/ssh_host_ed25519_key"), key("root/.ssh/id_ed25519"));
        let made = fs::metadata(&host).unwrap().created().unwrap();
        assert_eq!(own_host_key(&host, made).unwrap().public, "ssh-ed25519 AAAA root");
        assert_eq!(own_host_key(&host, made + Duration::from_secs(1)), None);
        assert_eq!(own_host_key(&user, made), None);
    }

    #[test]
    fn the_system_is_named() {
        assert_eq!(
            pretty_name("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n"),
            "Debian GNU/Linux 13 (trixie)"
        );
        assert_eq!(pretty_name(""), "");
    }
}
