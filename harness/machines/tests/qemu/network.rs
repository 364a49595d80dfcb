//! What the guest reaches, and from where it is reached.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, ensure};
use coldproof_machines::{
    guest::GuestCommand,
    provider::{GuestService, MachineSpec, Origin},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixListener},
};

use crate::bench::{Bench, soon, within};

const PAGE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\nfrom outside";
const NGINX: &str = "error_log /run/n.log; pid /run/n.pid; events {} \
http { access_log off; server { listen 8080; return 200 'from inside'; } }";

pub(crate) async fn isolation(bench: Bench) -> anyhow::Result<()> {
    // The socket is in a directory that QEMU's user cannot enter.
    let socket = bench.path("service.sock");
    tokio::spawn(serve(UnixListener::bind(&socket)?));
    let service = GuestService { address: Ipv4Addr::new(10, 0, 2, 100), port: 80, socket };
    let spec = MachineSpec {
        forwards: vec![8080],
        guest_services: vec![service],
        origin: Origin::Blank,
        ..bench.spec("network")
    };
    let mut machine = bench.create(&spec).await?;
    let guest = machine.guest(soon()).await?;
    for _ in 0..2 {
        let get = GuestCommand::new(["curl", "-sS", "--max-time", "10", "http://10.0.2.100/"]);
        let output = guest.run(&get, soon()).await?;
        ensure!(output.stdout == b"from outside", "{output:?}");
    }

    let start = "printf %s \"$1\" >/run/n.conf && nginx -c /run/n.conf";
    let started = guest.run(&GuestCommand::new(["bash", "-c", start, "bash", NGINX]), soon()).await?;
    ensure!(started.success(), "{started:?}");
    let endpoint = machine.endpoint(8080).context("a declared port")?;
    ensure!(machine.endpoint(22).is_none() && endpoint.ip().is_loopback(), "{endpoint}");
    let mut stream = TcpStream::connect(endpoint).await?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    within(10).bound(stream.read_to_string(&mut answer)).await??;
    ensure!(answer.ends_with("from inside"), "{answer}");

    // 10.0.2.2 would be the controller's loopback interface.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let forbidden = format!("http://10.0.2.2:{port}/");
    let attempt = guest.run(&GuestCommand::new(["curl", "-sS", "--max-time", "3", &forbidden]), soon()).await?;
    ensure!(!attempt.success(), "the guest reached the controller");

    let evidence = bench.path("evidence");
    let receipt = machine.destroy(Some(&evidence)).await?;
    ensure!(receipt.is_clean(), "{receipt}");
    let capture = std::fs::read(evidence.join("capture.pcap"))?;
    // In a packet, the destination address is followed by the source and the destination port.
    let is_attempt = |bytes: &[u8]| bytes[..4] == [10, 0, 2, 2] && bytes[6..] == port.to_be_bytes();
    ensure!(capture.windows(8).any(is_attempt), "the attempt was not captured");
    bench.assert_clean()
}

async fn serve(listener: UnixListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut request = [0; 1024];
            if stream.read(&mut request).await.is_ok() {
                stream.write_all(PAGE).await.ok();
            }
        });
    }
}
