use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use coldproof_machines::mark::Mark;
use rstest::rstest;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, UnixStream},
};

use super::{Credential, GitClient, GitRequest, GitServer};

struct World {
    dir: TempDir,
    server: GitServer,
}

impl World {
    /// `served/a.git` with one commit, and `outside.git`, to which a link in `served` leads.
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for repository in ["served/a.git", "outside.git"] {
            git(dir.path(), &["init", "-q", "--bare", "-b", "main", repository]);
        }
        symlink("../outside.git", dir.path().join("served/link.git")).unwrap();
        git(dir.path(), &["clone", "-q", "served/a.git", "work"]);
        let work = dir.path().join("work");
        fs::write(work.join("file"), "x".repeat(3 << 20)).unwrap();
        git(&work, &["add", "file"]);
        git(&work, &["commit", "-qm", "one"]);
        git(&work, &["push", "-q", "origin", "HEAD:main"]);
        let server =
            GitServer::start(&dir.path().join("served"), &dir.path().join("git.sock"), &Mark::default()).await.unwrap();
        Self { dir, server }
    }

    /// Sends one request by the guest's socket; returns status and head of the answer.
    async fn ask(&self, line: &str, credential: Option<&Credential>) -> (u16, String) {
        let header = credential.map(|c| format!("{}\r\n", c.header_line())).unwrap_or_default();
        let request = format!("{line} HTTP/1.1\r\nHost: git\r\n{header}Connection: close\r\nContent-Length: 0\r\n\r\n");
        let mut stream = UnixStream::connect(self.server.socket()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
    }
}

fn git(dir: &Path, args: &[&str]) -> std::process::Output {
    let output = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.test"])
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

const REFS: &str = "GET /a.git/info/refs?service=git-upload-pack";

#[tokio::test]
async fn only_the_runs_credential_opens_a_repository() {
    let world = World::new().await;
    let right = world.server.credential().clone();
    let wrong = Credential::random().unwrap();
    let (status, answer) = world.ask(REFS, None).await;
    assert_eq!(status, 401);
    assert!(answer.to_ascii_lowercase().contains("www-authenticate: basic realm="), "{answer}");
    assert_eq!(world.ask(REFS, Some(&wrong)).await.0, 401);
    let (status, answer) = world.ask(REFS, Some(&right)).await;
    assert_eq!(status, 200);
    assert!(answer.contains("application/x-git-upload-pack-advertisement"), "{answer}");

    fs::write(world.dir.path().join("served/a.git/git-daemon-export-ok"), "").unwrap();
    assert_eq!(world.ask(REFS, None).await.0, 200);

    let path = "/a.git/info/refs?service=git-upload-pack".to_owned();
    let logged = |status| GitRequest { client: GitClient::Guest, method: "GET".to_owned(), path: path.clone(), status };
    assert_eq!(world.server.requests(), [401, 401, 200, 200].map(logged));
}

#[rstest]
#[case("GET /outside.git/info/refs?service=git-upload-pack", 404)]
#[case("GET /link.git/info/refs?service=git-upload-pack", 404)]
#[case("GET /../outside.git/info/refs?service=git-upload-pack", 404)]
#[case("GET /%2e%2e/outside.git/info/refs?service=git-upload-pack", 404)]
#[case("GET /a.git/..%2f..%2foutside.git/info/refs?service=git-upload-pack", 404)]
#[case("GET /a.git/config", 404)]
#[case("GET /a.git/HEAD", 404)]
#[case("GET /a.git/info/refs", 404)]
#[case("GET /a.git/info/refs?service=git-receive-pack", 403)]
#[case("POST /a.git/git-receive-pack", 403)]
#[case("PUT /a.git/HEAD", 403)]
#[tokio::test]
async fn nothing_else_is_served_even_with_it(#[case] line: &str, #[case] status: u16) {
    let world = World::new().await;
    let credential = world.server.credential().clone();
    assert_eq!(world.ask(line, Some(&credential)).await.0, status);
    assert_eq!(world.ask(line, None).await.0, 401, "a stranger learns nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn git_clones_by_the_guests_socket_and_cannot_push() {
    let world = World::new().await;
    // What the relay does in QEMU.
    let relay = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", relay.local_addr().unwrap());
    let socket = world.server.socket().to_owned();
    tokio::spawn(async move {
        while let Ok((mut guest, _)) = relay.accept().await {
            let mut server = UnixStream::connect(&socket).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut guest, &mut server).await });
        }
    });
    let header = format!("http.extraHeader={}", world.server.credential().header_line());
    let url = world.server.url_of(&origin, &world.dir.path().join("served/a.git")).unwrap().to_string();
    let dir = world.dir.path().to_owned();
    let pushed = tokio::task::spawn_blocking(move || {
        git(&dir, &["-c", &header, "clone", "-q", &url, "cloned"]);
        let cloned = dir.join("cloned");
        assert_eq!(fs::read(cloned.join("file")).unwrap().len(), 3 << 20);
        // Many commits that the server does not have make the next request one that git compresses.
        for number in 0..40 {
            git(&cloned, &["commit", "-q", "--allow-empty", "-m", &number.to_string()]);
        }
        git(&dir.join("work"), &["commit", "-q", "--allow-empty", "-m", "two"]);
        git(&dir.join("work"), &["push", "-q", "origin", "HEAD:main"]);
        git(&cloned, &["-c", &header, "fetch", "-q", "origin"]);
        let own = ["rev-parse", "refs/remotes/origin/main"];
        assert_eq!(git(&cloned, &own).stdout, git(&dir.join("work"), &["rev-parse", "HEAD"]).stdout);
        Command::new("git")
            .args(["-c", &header, "push", "-q", "origin", "HEAD:main"])
            .current_dir(cloned)
            .output()
            .unwrap()
    });
    let pushed = pushed.await.unwrap();
    assert!(String::from_utf8_lossy(&pushed.stderr).contains("403"), "{pushed:?}");
}

#[tokio::test]
async fn connections_end_with_the_server() {
    let world = World::new().await;
    let mut stream = UnixStream::connect(world.server.socket()).await.unwrap();
    stream.write_all(b"GET ").await.unwrap();
    let World { dir, server } = world;
    drop(server);
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or_default(), 0);
    drop(dir);
}
