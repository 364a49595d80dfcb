//! The controller's half of the tunnel: the network of a container without a network card.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use coldproof_machines::{
    deadline::Deadline,
    guest::{Guest, GuestCommand, GuestFileError, TransportError},
    provider::GuestService,
};
use coldproof_tunnel::{Control, Purpose, Session, StreamHandle, config};
use futures::StreamExt as _;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy, copy_bidirectional, join},
    net::{TcpListener, UnixStream},
    sync::oneshot,
    task::JoinSet,
};

use crate::{Exec, Program};

/// The guest's half, built by this crate's build script.
static TUNNEL: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tunnel"));
/// The harness's own directory in a guest: on a RAM file system, private.
const DIRECTORY: &str = "/run/coldproof";
const PROGRAM: &str = "/run/coldproof/tunnel";

/// There is no network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The way to the guest was lost.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The guest's half could not be put in its place.
    #[error(transparent)]
    Install(#[from] GuestFileError),
    /// The controller could not listen, or write the capture.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// The guest's half ended before it had set up anything.
    #[error(
        "the guest's network could not be set up: {0}; the container needs CAP_NET_ADMIN and CAP_SYS_ADMIN in its own namespaces"
    )]
    Guest(String),
}

/// The network of one start of a container. It ends when this is dropped.
#[derive(Debug)]
pub struct Network {
    endpoints: BTreeMap<u16, SocketAddr>,
    _tasks: JoinSet<io::Result<()>>,
}

impl Network {
    /// Sets it up: `services` are what the guest reaches, `forwards` the guest's TCP ports that the controller does.
    /// Every packet of the guest's card goes to the file `capture`.
    ///
    /// # Errors
    /// [`NetworkError`] when the guest has no network; what there was of it is gone.
    pub async fn open(
        exec: &impl Exec,
        guest: &Guest,
        services: &[GuestService],
        forwards: impl IntoIterator<Item = u16>,
        capture: &Path,
        deadline: Deadline,
    ) -> Result<Self, NetworkError> {
        let made = GuestCommand::new(["install", "-d", "-m0700", DIRECTORY]);
        guest.run(&made, deadline).await?;
        guest.push(TUNNEL.to_vec().into(), PROGRAM, 0o700, deadline).await?;
        let sockets: BTreeMap<SocketAddrV4, PathBuf> = services
            .iter()
            .map(|service| (SocketAddrV4::new(service.address, service.port), service.socket.clone()))
            .collect();
        let argv = ["unshare", "--net", "--", PROGRAM].map(str::to_owned).into_iter();
        let argv: Vec<String> = argv.chain(sockets.keys().map(ToString::to_string)).collect();
        let Program { stdin, stdout, mut stderr, status } = exec.start(&argv).await?;
        let file = File::create(capture).map_err(io_error(format!("creating {}", capture.display())))?;

        let mut tasks = JoinSet::new();
        let session = Session::new_client(join(stdout, stdin), config());
        let control = session.control();
        let (ready, is_ready) = oneshot::channel();
        tasks.spawn(serve(session, Offered { services: sockets, capture: Mutex::new(Some((file.into(), ready))) }));
        let said = async {
            let mut said = String::new();
            // What it said is all there is to know, also if the stream breaks off.
            let _ = stderr.read_to_string(&mut said).await;
            let _ = status.await;
            said
        };
        let set_up = async {
            tokio::select! {
                biased;
                Ok(()) = is_ready => Ok(()),
                said = said => Err(NetworkError::Guest(said.trim().to_owned())),
            }
        };
        let late = |_| TransportError::Deadline { command: "tunnel".to_owned() };
        deadline.bound(set_up).await.map_err(late)??;
        let mut endpoints = BTreeMap::new();
        for port in forwards {
            let what = "listening for the guest's ports";
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(io_error(what))?;
            endpoints.insert(port, listener.local_addr().map_err(io_error(what))?);
            tasks.spawn(forward(listener, port, control.clone()));
        }
        Ok(Self { endpoints, _tasks: tasks })
    }

    /// Where the controller reaches a port of the guest.
    #[must_use]
    pub fn endpoint(&self, port: u16) -> Option<SocketAddr> {
        self.endpoints.get(&port).copied()
    }
}

/// What the guest may open: services by address, and once the stream of its packets.
struct Offered {
    services: BTreeMap<SocketAddrV4, PathBuf>,
    capture: Mutex<Option<(tokio::fs::File, oneshot::Sender<()>)>>,
}

/// Drives the session, and takes what the guest opens.
async fn serve<T: AsyncRead + AsyncWrite + Unpin>(mut session: Session<T>, offered: Offered) -> io::Result<()> {
    let offered = Arc::new(offered);
    let mut streams = JoinSet::new();
    while let Some(stream) = session.next().await {
        streams.spawn(take(stream?, Arc::clone(&offered)));
    }
    Ok(())
}

async fn take(mut stream: StreamHandle, offered: Arc<Offered>) -> io::Result<()> {
    match Purpose::hear(&mut stream).await? {
        Purpose::Service(address) => {
            let socket = offered.services.get(&address).ok_or(io::ErrorKind::NotFound)?;
            let mut connection = UnixStream::connect(socket).await?;
            copy_bidirectional(&mut stream, &mut connection).await.map(drop)
        }
        Purpose::Capture => {
            let taken = offered.capture.lock().unwrap_or_else(PoisonError::into_inner).take();
            let (mut file, ready) = taken.ok_or(io::ErrorKind::AlreadyExists)?;
            // Nobody waits any more if setting up took too long.
            let _ = ready.send(());
            copy(&mut stream, &mut file).await?;
            file.flush().await
        }
        Purpose::Forward(_) => Err(io::Error::other("the guest does not forward")),
    }
}

async fn forward(listener: TcpListener, port: u16, control: Control) -> io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (mut connection, _) = listener.accept().await?;
        let mut control = control.clone();
        connections.spawn(async move {
            let mut stream = control.open_stream().await.map_err(io::Error::other)?;
            Purpose::Forward(port).say(&mut stream).await?;
            copy_bidirectional(&mut connection, &mut stream).await.map(drop)
        });
        while let Some(ended) = connections.try_join_next() {
            tracing::trace!(?ended, port, "a connection to the guest ended");
        }
    }
}

fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> NetworkError {
    let what = what.into();
    move |source| NetworkError::Io { what, source }
}
