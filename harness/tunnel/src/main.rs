//! The guest's half of the tunnel: `unshare --net tunnel ADDRESS:PORT…`, its standard input and output being the
//! stream to the controller.
//!
//! It lives in a network namespace of its own, which is "the outside" for the guest: the peer of the guest's card is
//! there, and with it the gateway and the services. Whatever the guest sends arrives there, is captured, and goes no
//! further unless it is for a service.

mod capture;
mod link;

use std::{env, io, net::SocketAddrV4, process::ExitCode};

use coldproof_tunnel::{Control, GUEST_ADDRESS, Purpose, Session, StreamHandle, config};
use futures::StreamExt as _;
use tokio::{
    io::{AsyncWriteExt as _, copy_bidirectional, join, stdin, stdout},
    net::{TcpListener, TcpStream},
};

use capture::Capture;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tunnel: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let services = env::args().skip(1).map(|argument| argument.parse().map_err(io::Error::other));
    let services: Vec<SocketAddrV4> = services.collect::<io::Result<_>>()?;
    // Before there is anything to capture, so that no packet is missed.
    let capture = Capture::open()?;
    link::join(&services)?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(&services, capture))
}

/// Serves until the controller closes the stream.
async fn serve(services: &[SocketAddrV4], capture: Capture) -> io::Result<()> {
    let mut session = Session::new_server(join(stdin(), stdout()), config());
    let control = session.control();
    for &address in services {
        let listener = TcpListener::bind(address).await?;
        tokio::spawn(accept(listener, address, control.clone()));
    }
    // Last of all: it says that everything is in place.
    tokio::spawn(send(capture, control));
    while let Some(stream) = session.next().await {
        tokio::spawn(forward(stream?));
    }
    Ok(())
}

async fn accept(listener: TcpListener, address: SocketAddrV4, mut control: Control) -> io::Result<()> {
    loop {
        let (mut connection, _) = listener.accept().await?;
        let mut stream = control.open_stream().await.map_err(io::Error::other)?;
        tokio::spawn(async move {
            Purpose::Service(address).say(&mut stream).await?;
            copy_bidirectional(&mut connection, &mut stream).await
        });
    }
}

async fn forward(mut stream: StreamHandle) -> io::Result<()> {
    let Purpose::Forward(port) = Purpose::hear(&mut stream).await? else {
        return Err(io::Error::other("the controller only forwards"));
    };
    let mut connection = TcpStream::connect((GUEST_ADDRESS, port)).await?;
    copy_bidirectional(&mut stream, &mut connection).await.map(drop)
}

async fn send(capture: Capture, mut control: Control) -> io::Result<()> {
    let mut stream = control.open_stream().await.map_err(io::Error::other)?;
    Purpose::Capture.say(&mut stream).await?;
    let mut packets = capture.packets();
    while let Some(bytes) = packets.recv().await {
        stream.write_all(&bytes).await?;
        stream.flush().await?;
    }
    Ok(())
}
