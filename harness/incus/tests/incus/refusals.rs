//! What a server refuses: each kind says what it is and what helps, and leaves nothing.

use anyhow::{Context, ensure};
use coldproof_incus::{
    client::Client,
    error::IncusError,
    instance::{InstanceSpec, Source},
    mark::Mark,
    server::{Server, ServerTrust},
};
use rcgen::{CertificateParams, date_time_ymd};

use crate::{
    bench::container,
    daemon::{Daemon, ROOMY, soon},
};

async fn refused(server: &Server) -> anyhow::Result<IncusError> {
    Client::connect(server, soon()).await.err().context("the server took it")
}

pub(crate) async fn certificates() -> anyhow::Result<()> {
    let daemon = Daemon::start(ROOMY).await?;
    let untrusted = daemon.server("untrusted", CertificateParams::new([])?)?;
    let error = refused(&untrusted).await?;
    ensure!(matches!(error, IncusError::Untrusted { .. }), "{error}");
    ensure!(error.to_string().contains("incus config trust add-certificate"), "{error}");

    // The server's own client makes no certificate that has run out, and the server adds none.
    let mut expired = CertificateParams::new([])?;
    (expired.not_before, expired.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    let error = refused(&daemon.server("expired", expired)?).await?;
    ensure!(matches!(error, IncusError::CertificateExpired { .. }), "{error}");
    ensure!(error.to_string().contains("2021"), "{error}");

    let server = daemon.trusted("revoked").await?;
    let client = Client::connect(&server, soon()).await?;
    daemon.incus(&["config", "trust", "remove", &client.fingerprint()[..12]]).await?;
    let error = client.instances(soon()).await.err().context("it was revoked")?;
    ensure!(matches!(error, IncusError::CertificateRevoked { .. }), "{error}");

    let other = Server { trust: ServerTrust::Fingerprint("00".repeat(32)), ..server };
    let error = refused(&other).await?;
    ensure!(matches!(error, IncusError::ServerIdentity { .. }), "{error}");
    daemon.end().await
}

pub(crate) async fn wrong_project() -> anyhow::Result<()> {
    let daemon = Daemon::start(ROOMY).await?;
    let server = daemon.trusted("client").await?;
    daemon.incus(&["project", "create", "theirs"]).await?;
    for project in ["theirs", "nobodys"] {
        let error = refused(&Server { project: project.to_owned(), ..server.clone() }).await?;
        ensure!(matches!(error, IncusError::WrongProject { .. }), "{error:?}");
        ensure!(error.to_string().contains(project), "{error}");
    }
    daemon.end().await
}

pub(crate) async fn creations() -> anyhow::Result<()> {
    let daemon = Daemon::start(ROOMY).await?;
    let (client, image) = daemon.client_with_image().await?;
    let refused = async |spec: &InstanceSpec| client.create(spec, soon()).await.err().context("it was created");

    let error = refused(&InstanceSpec { memory: 9 << 30, ..container(&client, "large", &image) }).await?;
    ensure!(matches!(error, IncusError::Limit { .. }), "{error:?}");

    let missing = Source::Fingerprint("0123456789ab".repeat(5));
    let error = refused(&InstanceSpec { source: missing, ..container(&client, "a", &image) }).await?;
    ensure!(matches!(error, IncusError::ImageMissing { .. }), "{error:?}");
    let missing = Source::Alias("no-such-alias".into());
    let error = refused(&InstanceSpec { source: missing, ..container(&client, "b", &image) }).await?;
    ensure!(matches!(error, IncusError::ImageMissing { .. }), "{error:?}");

    let resolved = client.resolve(&image[..12], soon()).await?;
    ensure!(resolved == image, "{resolved}");
    daemon.incus(&["image", "alias", "create", "blank", &image, "--project", &daemon.project]).await?;
    ensure!(client.resolve("blank", soon()).await? == image);
    client
        .create(
            &InstanceSpec { source: Source::Alias("blank".into()), ..container(&client, "aliased", &image) },
            soon(),
        )
        .await?;
    client.remove("aliased", "nonce-aliased", soon()).await?;

    let mut privileged = container(&client, "privileged", &image);
    privileged.config.insert("security.privileged".into(), "true".into());
    let error = refused(&privileged).await?;
    ensure!(matches!(error, IncusError::Restricted { .. }), "{error:?}");
    ensure!(client.instances(soon()).await?.is_empty(), "a refusal left something");

    let first = container(&client, "taken", &image);
    client.create(&first, soon()).await?;
    let mark = Mark { nonce: "another".into(), ..first.mark.clone() };
    let error = refused(&InstanceSpec { mark, ..first.clone() }).await?;
    ensure!(matches!(error, IncusError::NameTaken { .. }), "{error:?}");
    let left = client.instances(soon()).await?;
    ensure!(left.len() == 1 && left[0].mark() == Some(first.mark.clone()), "the first one was touched: {left:?}");
    client.remove("taken", &first.mark.nonce, soon()).await?;

    // An image of something else.
    let empty = container(&client, "empty", &image);
    client.create(&empty, soon()).await?;
    daemon.incus(&["file", "delete", "empty/sbin/init", "--project", &daemon.project]).await?;
    let error = client.start("empty", soon()).await.err().context("it was started")?.to_string();
    ensure!(error.contains("Failed to exec \"/sbin/init\""), "{error}");
    client.remove("empty", &empty.mark.nonce, soon()).await?;
    daemon.end().await
}

pub(crate) async fn full_disk() -> anyhow::Result<()> {
    // The image takes 450 MB once it is unpacked.
    let daemon = Daemon::start("300MiB").await?;
    let (client, image) = daemon.client_with_image().await?;
    let error = client.create(&container(&client, "full", &image), soon()).await.err().context("it fit")?;
    ensure!(matches!(error, IncusError::DiskFull { .. }), "{error:?}");
    ensure!(client.instances(soon()).await?.is_empty(), "something is left");
    daemon.end().await
}
