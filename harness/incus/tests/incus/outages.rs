//! Ways that break: each is told apart, and what was begun is removed once the way is there again.

use std::{net::TcpListener, process::Stdio};

use anyhow::{Context, ensure};
use coldproof_incus::{client::Client, error::IncusError, server::Server};
use coldproof_machines::guest::GuestCommand;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use crate::{
    bench::container,
    daemon::{Daemon, ROOMY, soon},
};

/// A SOCKS5 proxy on this computer.
struct Proxy {
    process: Child,
    port: u16,
}

impl Proxy {
    async fn start() -> anyhow::Result<Self> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let process = Command::new("microsocks")
            .args(["-i", "127.0.0.1", "-p", &port.to_string()])
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("starting microsocks")?;
        // It says nothing when it listens, so there is nothing to wait for but the port.
        let listens = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        soon().bound(listens).await?;
        Ok(Self { process, port })
    }

    fn before(&self, server: &Server) -> anyhow::Result<Server> {
        Ok(Server { proxy: Some(format!("socks5h://127.0.0.1:{}", self.port).parse()?), ..server.clone() })
    }
}

pub(crate) async fn proxy() -> anyhow::Result<()> {
    let mut daemon = Daemon::start(ROOMY).await?;
    let (direct, image) = daemon.client_with_image().await?;
    let mut proxy = Proxy::start().await?;
    let server = proxy.before(direct.server())?;
    let client = Client::connect(&server, soon()).await?;
    let spec = container(&client, "far", &image);
    client.create(&spec, soon()).await?;
    client.start("far", soon()).await?;
    ensure!(client.exec("far", &GuestCommand::new(["true"]), soon()).await?.success(), "through the proxy");

    // It dies while a command is waited for.
    let waiting = {
        let client = client.clone();
        tokio::spawn(async move { client.exec("far", &GuestCommand::new(["sleep", "55"]), soon()).await })
    };
    while direct.state("far", soon()).await?.status != "Running" || !sleeps(&direct).await? {
        tokio::task::yield_now().await;
    }
    proxy.process.kill().await?;
    let error = waiting.await?.err().context("the command ended")?;
    ensure!(matches!(error, IncusError::Cut { .. }), "{error:?}");

    let error = client.instances(soon()).await.err().context("the proxy is dead")?;
    ensure!(matches!(error, IncusError::ProxyDown { .. }), "{error:?}");

    // The proxy lives, and the server does not.
    direct.remove("far", &spec.mark.nonce, soon()).await?;
    let proxy = Proxy::start().await?;
    let server = proxy.before(&server)?;
    daemon.kill().await?;
    let error = Client::connect(&server, soon()).await.err().context("the server is dead")?;
    ensure!(matches!(error, IncusError::Unreachable { proxy: Some(_), .. }), "{error:?}");
    daemon.end().await
}

async fn sleeps(client: &Client) -> anyhow::Result<bool> {
    let look =
        GuestCommand::script("for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; echo; done | grep -q '^sleep 55'");
    Ok(client.exec("far", &look, soon()).await?.success())
}

pub(crate) async fn restart() -> anyhow::Result<()> {
    let mut daemon = Daemon::start(ROOMY).await?;
    let (client, image) = daemon.client_with_image().await?;
    let spec = container(&client, "half", &image);
    let creating = {
        let (client, spec) = (client.clone(), spec.clone());
        tokio::spawn(async move { client.create(&spec, soon()).await })
    };
    // It is in the server's database long before its disk is unpacked.
    while client.instance("half", soon()).await?.is_none() {
        tokio::task::yield_now().await;
    }
    daemon.kill().await?;
    let error = creating.await?.err().context("it was created")?;
    ensure!(error.lost_the_server(), "{error:?}");
    daemon.restart().await?;
    let left = client.instance("half", soon()).await?.context("the half of an instance")?;
    ensure!(left.mark() == Some(spec.mark.clone()), "{left:?}");
    client.remove("half", &spec.mark.nonce, soon()).await?;
    ensure!(client.instances(soon()).await?.is_empty(), "something is left");
    // Not under the same name, as no run of ours does: the server may have kept a directory of it that no API shows.
    let next = container(&client, "next", &image);
    client.create(&next, soon()).await?;
    client.remove("next", &next.mark.nonce, soon()).await?;
    daemon.end().await
}
