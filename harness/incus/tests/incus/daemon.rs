//! An incusd of a test's own.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, ensure};
use coldproof_incus::{
    client::Client,
    image::ContainerImage,
    server::{Server, ServerTrust},
};
use coldproof_machines::{deadline::Deadline, paths::Paths, provider::BootImage};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::bench::within;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/incus/daemon.sh");
/// The size of the storage pool of a daemon whose pool is not to be filled.
pub(crate) const ROOMY: &str = "8GiB";

/// A running incusd, its directory, and a project that a restricted certificate may use. It ends with its owner.
pub(crate) struct Daemon {
    pub(crate) dir: PathBuf,
    pub(crate) project: String,
    port: u16,
    process: Child,
    commands: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Daemon {
    pub(crate) async fn start(pool: &str) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("cp-incus-").tempdir()?.keep();
        let project = format!("proof-{}", std::process::id());
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        // A session of its own: it has to outlive whoever kills the test, to clean up.
        let mut process = Command::new("setsid")
            .args(["--wait", SCRIPT])
            .args([dir.as_os_str(), project.as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let commands = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().context("a pipe")?).lines();
        let mut daemon = Self { dir, project, port, process, commands, answers };
        daemon.tell("start").await?;
        daemon.ready().await?;
        daemon.set_up(pool).await?;
        Ok(daemon)
    }

    async fn tell(&mut self, command: &str) -> anyhow::Result<()> {
        let commands = self.commands.as_mut().context("it runs")?;
        commands.write_all(format!("{command}\n").as_bytes()).await?;
        ensure!(self.answers.next_line().await?.is_some(), "the daemon's script has ended");
        Ok(())
    }

    /// Kills incusd; containers go on.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.tell("kill").await
    }

    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        self.tell("start").await?;
        self.ready().await
    }

    async fn ready(&self) -> anyhow::Result<()> {
        self.incus(&["admin", "waitready", "--timeout", "60"]).await.map(drop)
    }

    async fn set_up(&self, pool: &str) -> anyhow::Result<()> {
        let project = &self.project;
        self.incus(&["config", "set", "core.https_address", &format!("127.0.0.1:{}", self.port)]).await?;
        self.incus(&["storage", "create", "pool", "btrfs", &format!("size={pool}")]).await?;
        let mut create = vec!["project", "create", project.as_str()];
        for setting in [
            "features.images=true",
            "features.profiles=true",
            "restricted=true",
            "restricted.containers.nesting=allow",
            "restricted.snapshots=allow",
            "limits.memory=8GiB",
        ] {
            create.extend(["-c", setting]);
        }
        self.incus(&create).await?;
        self.incus(&[
            "profile",
            "device",
            "add",
            "default",
            "root",
            "disk",
            "path=/",
            "pool=pool",
            "--project",
            project,
        ])
        .await?;
        Ok(())
    }

    /// Runs the administrator's client.
    pub(crate) async fn incus(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new("incus")
            .args(arguments)
            .env("INCUS_DIR", self.dir.join("d"))
            .env("INCUS_CONF", self.dir.join("client"))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = within(120).bound(output).await??;
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "incus {arguments:?}: {words}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The server, as the holder of the certificate `name` sees it. The certificate is not trusted yet.
    pub(crate) fn server(&self, name: &str, params: CertificateParams) -> anyhow::Result<Server> {
        let key = KeyPair::generate()?;
        let (certificate, key_file) = (self.dir.join(format!("{name}.crt")), self.dir.join(format!("{name}.key")));
        fs::write(&certificate, params.self_signed(&key)?.pem())?;
        write_private(&key_file, &key.serialize_pem())?;
        let own = CertificateDer::from_pem_file(self.dir.join("d/server.crt"))?;
        Ok(Server {
            url: format!("https://127.0.0.1:{}", self.port).parse()?,
            project: self.project.clone(),
            certificate,
            key: key_file,
            trust: ServerTrust::Fingerprint(hex::encode(Sha256::digest(&own))),
            proxy: None,
        })
    }

    pub(crate) async fn trust(&self, server: &Server) -> anyhow::Result<()> {
        let certificate = server.certificate.display().to_string();
        self.incus(&["config", "trust", "add-certificate", &certificate, "--restricted", "--projects", &self.project])
            .await
            .map(drop)
    }

    /// The server with a certificate that is trusted with our project and nothing else.
    pub(crate) async fn trusted(&self, name: &str) -> anyhow::Result<Server> {
        let server = self.server(name, CertificateParams::new([])?)?;
        self.trust(&server).await?;
        Ok(server)
    }

    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::connect(&self.trusted("client").await?, within(30)).await?)
    }

    /// A client of a server that has the image.
    pub(crate) async fn client_with_image(&self) -> anyhow::Result<(Client, String)> {
        let client = self.client().await?;
        let image = tokio::task::block_in_place(|| ContainerImage::of(&boot_image()?).map_err(anyhow::Error::from))?;
        client.import(&image, within(120)).await?;
        Ok((client, image.fingerprint))
    }

    /// Ends it, and returns when nothing of it is left.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        drop(self.commands.take());
        within(60).bound(self.process.wait()).await??;
        ensure!(!self.dir.exists(), "{} is left", self.dir.display());
        Ok(())
    }
}

fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}

/// The image that `COLDPROOF_TEST_IMAGE` names, or else the newest one in the cache.
pub(crate) fn boot_image() -> anyhow::Result<BootImage> {
    let dir = match std::env::var_os("COLDPROOF_TEST_IMAGE") {
        Some(dir) => PathBuf::from(dir),
        None => {
            let images = fs::read_dir(Paths::from_env().cache.join("images"))?.flatten().map(|entry| entry.path());
            let made = images.filter(|dir| dir.join("image.json").exists());
            made.max_by_key(|dir| dir.metadata().and_then(|m| m.modified()).ok())
                .context("an image; run `coldproof image`")?
        }
    };
    let key = dir.file_name().and_then(|name| name.to_str()).context("a directory's name")?.to_owned();
    Ok(BootImage {
        root: dir.join("root.raw"),
        kernel: dir.join("vmlinux"),
        initrd: dir.join("initrd"),
        archive: dir.join("root.tar.zst"),
        key,
    })
}

/// A deadline that no test is to meet.
pub(crate) fn soon() -> Deadline {
    within(60)
}
