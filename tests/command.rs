//! What the command says to those who ask wrongly, and that it leaves nothing behind: through the built binary, without
//! a machine.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
};

use coldproof_evidence::Digest;
use rstest::rstest;
use serde_json::{Value, json};
use tempfile::TempDir;

const WRONG_USAGE: i32 = 2;
const INCONCLUSIVE: i32 = 3;

/// A directory with a reference world in it, and everything that a command would leave behind.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let written = place.run(&["reference", "world"]);
        assert!(written.status.success(), "{}", words(&written));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.program(env!("CARGO_BIN_EXE_coldproof"), arguments)
    }

    fn program(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(&self.0)
            .env("COLDPROOF_STATE", self.path("state"))
            .env("COLDPROOF_RUNTIME", self.path("run"))
            .env("TEST_HEADER", "Authorization: Basic d3Jvbmc6d3Jvbmc=");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Changes the host definition.
    fn define(&self, old: &str, new: &str) {
        let file = self.path("world/coldproof.toml");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(old), "{old} is not in the reference world's definition");
        fs::write(file, text.replacen(old, new, 1)).unwrap();
    }

    /// Names a host that is there already, of which `ssh` knows this.
    fn original(&self, ssh_config: &str) {
        let file = self.path("world/coldproof.toml");
        let original = "\n[machine.ssh]\nhost = \"cc-ci\"\nconfig = \"ssh_config\"\n";
        fs::write(&file, fs::read_to_string(&file).unwrap() + original).unwrap();
        fs::write(self.path("world/ssh_config"), format!("Host cc-ci\n  {ssh_config}\n")).unwrap();
    }

    /// Puts a sound image of the reference host's recipe into a cache, with words in its files; returns its directory.
    fn image(&self, cache: &str) -> PathBuf {
        let key = coldproof_reference::image_recipe().key();
        let image = self.path(cache).join("images").join(&key);
        fs::create_dir_all(&image).unwrap();
        let (mut files, mut sums) = (Vec::new(), String::new());
        for name in ["root.raw", "vmlinux", "initrd", "root.tar.zst"] {
            let text = format!("contents of {name}");
            fs::write(image.join(name), &text).unwrap();
            let digest = Digest::of(&text);
            sums += &format!("{}  {name}\n", digest.hex());
            files.push(json!({ "name": name, "digest": digest, "size": text.len() }));
        }
        let record = json!({ "key": key, "digest": Digest::of(sums), "files": files, "manifest": ["git=1"] });
        fs::write(image.join("image.json"), record.to_string()).unwrap();
        image
    }

    /// Asks for a proof of what the repositories tell.
    fn prove(&self, arguments: &[&str]) -> Output {
        let proof =
            ["prove", "--host", "world/coldproof.toml", "--no-machine", "--only", "source.*", "--out", "bundle"];
        self.run(&[&proof, arguments].concat())
    }

    /// The command refused in one paragraph with these words in it, and nothing is left.
    fn refused(&self, output: &Output, code: i32, said: &[&str]) {
        let text = words(output);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(output.stdout.is_empty(), "{text}");
        let (_, paragraph) = text.split_once("coldproof: ").unwrap_or_else(|| panic!("no paragraph: {text}"));
        assert!(!paragraph.trim_end().contains("\n\n") && !paragraph.contains("coldproof: "), "{text}");
        for words in said {
            assert!(paragraph.contains(words), "`{words}` is not in: {paragraph}");
        }
        for directory in ["state/ledger", "state/leases", "state/runs", "run"] {
            assert_eq!(names(&self.path(directory)), [""; 0], "left in {directory}");
        }
        let mut here = names(self.0.path());
        here.retain(|name| !["world", "state", "run"].contains(&name.as_str()));
        assert_eq!(here, [""; 0], "left beside the world");
    }
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Names in a directory; none if there is no such directory.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[rstest]
#[case::missing_repository("\"base.git\"", "\"missing.git\"", &["there is no", "missing.git", "remedy: name a git repo"])]
#[case::no_repository("\"base.git\"", "\"keys\"", &["keys is no git repository", "remedy: "])]
#[case::ssh("\"base.git\"", "\"ssh://git@git.example.test/base.git\"", &["over ssh", "remedy: write", "https:"])]
#[case::short_ssh("\"base.git\"", "\"git@git.example.test:base.git\"", &["short form for ssh", "remedy: write", "https:"])]
#[case::unknown_key("revision = ", "revisoin = ", &["coldproof.toml:", "unknown key `revisoin`", "did you mean `revision`?"])]
#[case::unknown_table("[machine]", "[machines]", &["coldproof.toml:", "machines", "remedy: "])]
#[case::malformed("revision = \"main\"", "revision = main", &["coldproof.toml:", "remedy: mend the line"])]
#[case::missing_key_file("\"keys/recovery.txt\"", "\"keys/nobody.txt\"", &["there is no key file", "remedy: put the key there"])]
#[case::no_such_revision("\"main\"", "\"nowhere\"", &["has no revision `nowhere`; push it"])]
fn a_wrong_definition_is_refused(#[case] old: &str, #[case] new: &str, #[case] said: &[&str]) {
    let place = Place::new();
    place.define(old, new);
    place.refused(&place.prove(&[]), WRONG_USAGE, said);
}

#[rstest]
#[case::nothing_selected(&["--only", ""], &["names no criterion", "coldproof prove --list"])]
#[case::no_such_criterion(&["--only", "tsl.*"], &["`tsl.*` names no criterion", "coldproof prove --list"])]
#[case::no_glob(&["--only", "tls.["], &["is no glob", "write for instance"])]
#[case::no_such_host(&["--host", "nowhere.toml"], &["cannot read host definition nowhere.toml", "remedy: name the file"])]
#[case::a_directory_for_a_host(&["--host", "world"], &["cannot read host definition world", "remedy: name the file"])]
#[case::out_is_no_bundle(&["--out", "world"], &["world exists already; name another directory"])]
#[case::out_below_a_file(&["--out", "world/coldproof.toml/bundle"], &["cannot be made", "--out"])]
#[case::out_where_nobody_can_write(&["--out", "/proc/bundle"], &["/proc/bundle cannot be made", "--out"])]
fn a_wrong_argument_is_refused(#[case] arguments: &[&str], #[case] said: &[&str]) {
    let place = Place::new();
    // An option given twice is clap's to refuse, but for those that are lists.
    let given: Vec<&str> = ["--host", "world/coldproof.toml", "--out", "bundle"]
        .chunks(2)
        .filter(|option| !arguments.contains(&option[0]))
        .flatten()
        .copied()
        .collect();
    let output = place.run(&[&["prove", "--no-machine"], given.as_slice(), arguments].concat());
    place.refused(&output, WRONG_USAGE, said);
}

#[rstest]
#[case::unknown_fault(&["reference", "new", "--fault", "nope"], &["there is no fault `nope`", "--list-faults"])]
#[case::no_fault_chosen(&["selftest", "--only", "gitlnk-*"], &["`gitlnk-*` names neither a fault nor", "--list-faults"])]
#[case::not_empty(&["reference", "world"], &["world: it is not empty; name a directory"])]
#[case::no_directory(&["reference", "world/coldproof.toml"], &["it cannot be used", "name a directory"])]
#[case::below_a_file(&["reference", "world/coldproof.toml/new"], &["it cannot be", "name a directory"])]
#[case::nobody_can_write(&["reference", "/proc/new"], &["/proc/new: it cannot be made", "name a directory"])]
#[case::no_such_machine(&["machines", "shell", "nope"], &["called nope", "coldproof machines list"])]
fn other_commands_refuse_as_well(#[case] arguments: &[&str], #[case] said: &[&str]) {
    let place = Place::new();
    place.refused(&place.run(arguments), WRONG_USAGE, said);
}

#[test]
fn a_cache_that_cannot_be_made_is_inconclusive() {
    let place = Place::new();
    let output = place.command(&["image"]).env("COLDPROOF_CACHE", place.path("world/coldproof.toml")).output().unwrap();
    place.refused(&output, INCONCLUSIVE, &["coldproof.toml/images", "set COLDPROOF_CACHE"]);
}

/// A bit that flipped, a copy that was cut off, a file that is gone: whoever asks for the image is told before a machine boots.
#[rstest]
#[case::altered(&["image"], Some("contents of VMLINUX"))]
#[case::cut_off(&["image", "--verify"], Some("contents"))]
#[case::gone(&["image"], None)]
#[case::proof(&["prove", "--host", "world/coldproof.toml", "--only", "blank.*", "--out", "bundle"], Some("cut"))]
fn a_corrupt_file_of_an_image_is_inconclusive(#[case] arguments: &[&str], #[case] found: Option<&str>) {
    let place = Place::new();
    let file = place.image("world/cache").join("vmlinux");
    let expected = Digest::of(fs::read(&file).unwrap()).to_string();
    let found = match found {
        Some(text) => {
            fs::write(&file, text).unwrap();
            format!("{} ({} bytes)", Digest::of(text), text.len())
        }
        None => {
            fs::remove_file(&file).unwrap();
            "no file".to_owned()
        }
    };
    let output = place.command(arguments).env("COLDPROOF_CACHE", place.path("world/cache")).output().unwrap();
    let corrupt = format!("{} is corrupt: expected {expected}, found {found};", file.display());
    place.refused(&output, INCONCLUSIVE, &[&corrupt, "coldproof image --rebuild"]);
    assert_eq!(found == "no file", !file.exists(), "nothing was put in its place");
}

#[rstest]
#[case::image(&["image"])]
#[case::prove(&["prove", "--host", "world/coldproof.toml", "--only", "blank.*", "--out", "bundle"])]
fn a_corrupt_image_is_inconclusive(#[case] arguments: &[&str]) {
    let place = Place::new();
    let image = place.path("world/cache/images").join(coldproof_reference::image_recipe().key());
    fs::create_dir_all(&image).unwrap();
    fs::write(image.join("image.json"), "{ \"key\": ").unwrap();
    let output = place.command(arguments).env("COLDPROOF_CACHE", place.path("world/cache")).output().unwrap();
    place.refused(&output, INCONCLUSIVE, &["image.json is corrupt: expected", "coldproof image --rebuild"]);
}

/// On a file system of a few MiB, in a mount namespace that ends with the test.
#[test]
fn a_disk_without_room_is_inconclusive() {
    let place = Place::new();
    // QEMU runs as a user of its own, which has to reach the image and the lease.
    let image = place.image("cache");
    for directory in [place.0.path(), &place.path("cache"), &place.path("cache/images"), &image] {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::create_dir(place.path("state")).unwrap();
    let proof = "mount -t tmpfs -o size=8m,mode=711 tmpfs state || exit
        \"$0\" prove --host world/coldproof.toml --provider qemu --only 'blank.*' --out bundle
        code=$?
        find state/ledger state/leases state/runs -mindepth 1 2>/dev/null
        exit $code";
    // Whoever is not root may still mount in a user namespace.
    let namespaces: &[&str] =
        if rustix::process::geteuid().is_root() { &["--mount"] } else { &["--map-root-user", "--mount"] };
    let arguments = [namespaces, &["sh", "-c", proof, env!("CARGO_BIN_EXE_coldproof")]].concat();
    let output = place.program("unshare", &arguments).env("COLDPROOF_CACHE", place.path("cache")).output().unwrap();
    fs::remove_dir_all(place.path("cache")).unwrap();
    place.refused(&output, INCONCLUSIVE, &["MiB left and a machine needs", "set COLDPROOF_STATE to a directory on a"]);
}

#[test]
fn a_machine_larger_than_the_computer_is_inconclusive() {
    let place = Place::new();
    place.image("world/cache");
    place.define("memory = \"2GiB\"", "memory = \"1000000GiB\"");
    let proof =
        ["prove", "--host", "world/coldproof.toml", "--provider", "qemu", "--only", "blank.*", "--out", "bundle"];
    let output = place.command(&proof).env("COLDPROOF_CACHE", place.path("world/cache")).output().unwrap();
    place.refused(
        &output,
        INCONCLUSIVE,
        &["does not fit into this computer, which has", "make `memory` under [machine]"],
    );
}

#[test]
fn a_server_that_nobody_reaches_is_inconclusive() {
    let place = Place::new();
    // Port 1 (tcpmux) is served nowhere.
    place.define("\"base.git\"", "\"http://127.0.0.1:1/base.git\"");
    place.refused(&place.prove(&[]), INCONCLUSIVE, &["could not be reached", "check the network"]);
}

#[rstest]
#[case::kept(&["--keep"], &["`cc-ci` was there before", "leave --keep out"])]
#[case::kept_without_a_look(&["--keep", "--no-machine"], &["leave --keep out"])]
fn what_changes_nothing_for_a_host_that_is_only_read_is_refused(#[case] arguments: &[&str], #[case] said: &[&str]) {
    let place = Place::new();
    place.original("HostName 127.0.0.1");
    let proof = ["prove", "--host", "world/coldproof.toml", "--provider", "ssh", "--out", "bundle"];
    place.refused(&place.run(&[&proof, arguments].concat()), WRONG_USAGE, said);
}

/// The repositories are judged all the same, and the bundle holds why the host was not.
#[rstest]
// Port 1 (tcpmux) is served nowhere.
#[case::nobody_answers("HostName 127.0.0.1\n  Port 1", "cc-ci cannot be looked at over SSH: ssh: connect")]
#[case::cut("HostName 127.0.0.1\n  ProxyCommand true", "cc-ci cannot be looked at over SSH: ")]
#[case::no_such_name("HostName host.invalid", "the address of cc-ci is not known: host.invalid")]
fn a_host_that_is_not_reached_is_inconclusive(#[case] ssh_config: &str, #[case] said: &str) {
    let place = Place::new();
    place.original(ssh_config);
    let proof = ["prove", "--host", "world/coldproof.toml", "--provider", "ssh", "--json", "--out", "bundle"];
    let only = ["source.private", "services.units", "services.http", "teardown.clean"];
    let output = place.command(&proof).args(only.iter().flat_map(|name| ["--only", name])).output().unwrap();
    let text = words(&output);
    assert_eq!(output.status.code(), Some(INCONCLUSIVE), "{text}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(report["verdict"], "inconclusive");
    let criteria = report["criteria"].as_array().unwrap();
    let criterion = |name: &str| criteria.iter().find(|criterion| criterion["name"] == name).unwrap();
    let outcome = |name| criterion(name)["outcome"].as_str().unwrap().to_owned();
    assert_eq!(only.map(outcome), ["pass", "inconclusive", "inconclusive", "pass"], "{report:#}");
    let cause = criterion("services.units")["cause"].as_str().unwrap();
    assert!(cause.contains(said), "{cause}");
    assert!(place.path("bundle/manifest.json").exists(), "{text}");
    for directory in ["state/ledger", "state/leases", "run"] {
        assert_eq!(names(&place.path(directory)), [""; 0], "left in {directory}");
    }
}

/// A key command is started before the key is there, so that nothing that holds it can be dumped.
#[test]
fn a_run_forbids_core_dumps_before_it_reads_a_key() {
    let place = Place::new();
    let (key, seen) = (place.path("world/keys/recovery.txt"), place.path("seen"));
    let script =
        format!("cat /proc/$PPID/limits /proc/$PPID/coredump_filter >{}; cat {}", seen.display(), key.display());
    let bootstrap = "[bootstrap]\nkey = ";
    place.define(
        &format!("{bootstrap}{{ file = \"keys/recovery.txt\" }}"),
        &format!("{bootstrap}{{ command = [\"sh\", \"-c\", {script:?}] }}"),
    );
    let proof = place.prove(&[]);
    assert!(proof.status.success(), "{}", words(&proof));
    let seen = fs::read_to_string(seen).unwrap();
    let limit = seen.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(limit.split_whitespace().collect::<Vec<_>>()[4..], ["0", "0", "bytes"]);
    assert_eq!(seen.lines().last(), Some("00000000"));
}

#[test]
fn the_doctor_asks_the_host_that_a_definition_names() {
    let place = Place::new();
    place.original("HostName 127.0.0.1\n  Port 1");
    let output = place.run(&["doctor", "--host", "world/coldproof.toml"]);
    let rows = String::from_utf8(output.stdout).unwrap();
    let row = |provider: &str| rows.lines().find(|row| row.contains(&format!("provider {provider}"))).unwrap();
    assert!(row("ssh").starts_with("absent ") && row("ssh").contains("Connection refused"), "{rows}");
    assert!(row("incus").starts_with("unset ") && row("incus").contains("[machine.incus]"), "{rows}");
    place.define("provider = \"qemu\"", "provider = \"ssh\"");
    let output = place.run(&["doctor", "--host", "world/coldproof.toml"]);
    assert_eq!(output.status.code(), Some(INCONCLUSIVE), "it is the one that is needed");
    assert!(String::from_utf8(output.stdout).unwrap().contains("MISSING  provider ssh"));
    assert_eq!(names(&place.path("state/ledger")), [""; 0]);
}

#[test]
fn a_server_that_refuses_the_credentials_is_a_wrong_definition() {
    let place = Place::new();
    let url =
        format!("\"http://127.0.0.1:{}/base.git\"\ncredentials = {{ header-env = \"TEST_HEADER\" }}", unauthorized());
    place.define("\"base.git\"", &url);
    let output = place.prove(&[]);
    place.refused(&output, WRONG_USAGE, &["refused the declared credentials", "`[source] credentials`"]);
    assert!(!words(&output).contains("d3Jvbmc6d3Jvbmc"), "the credential is not repeated");
}

/// The port of a server that lets nobody in. It ends with the test's process.
fn unauthorized() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            lines.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
            let answer = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"\r\n\
                          Content-Length: 0\r\nConnection: close\r\n\r\n";
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    port
}
