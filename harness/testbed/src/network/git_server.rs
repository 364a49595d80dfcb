//! A read-only smart-HTTP git server for the repositories of one local directory.
//!
//! It listens on a loopback port, for the controller's own clone, and on a Unix socket, which a relay on QEMU's
//! `guestfwd` joins to an address in the guest. Every request needs the run's credential, unless the repository has
//! git's own marker for anybody to read it. That makes a private repository private here as it is at its forge.

use std::{
    convert::Infallible,
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use coldproof_machines::mark::Mark;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{HeaderValue, WWW_AUTHENTICATE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
};
use url::Url;

use super::{
    accept::Accepting,
    credential::Credential,
    git_backend::{Body, GitBackend},
    git_path::{Repository, Service},
};

/// A clone opens a connection or two; a guest that opens hundreds is not cloning.
const CONNECTIONS: usize = 16;
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Which listener a request came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GitClient {
    /// The Unix socket.
    Guest,
    /// The loopback port.
    Controller,
}

/// One request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitRequest {
    /// Who asked.
    pub client: GitClient,
    /// The HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The status it was answered with.
    pub status: u16,
}

/// The running server. Dropping it ends it.
#[derive(Debug)]
pub struct GitServer {
    shared: Arc<Shared>,
    origin: String,
    socket: PathBuf,
    _accepting: [Accepting; 2],
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    credential: Credential,
    backend: GitBackend,
    requests: Mutex<Vec<GitRequest>>,
}

impl GitServer {
    /// Serves the repositories below `root`, on a loopback port and on a new Unix socket at `socket`. Every program that is
    /// started for it bears `mark`.
    ///
    /// Whoever relays the guest's connections must be allowed to write to the socket; that is the caller's affair.
    ///
    /// # Errors
    /// When git is missing, `root` cannot be read or a listener cannot be opened.
    pub async fn start(root: &Path, socket: &Path, mark: &Mark) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            root: root.canonicalize()?,
            credential: Credential::random()?,
            backend: GitBackend::find(mark).await?,
            requests: Mutex::default(),
        });
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let origin = format!("http://{}", tcp.local_addr()?);
        let unix = UnixListener::bind(socket)?;
        let (of_controller, of_guest) = (Arc::clone(&shared), Arc::clone(&shared));
        let controller = Accepting::start(tcp, CONNECTIONS, move |stream| {
            serve(Arc::clone(&of_controller), GitClient::Controller, stream)
        });
        let guest =
            Accepting::start(unix, CONNECTIONS, move |stream| serve(Arc::clone(&of_guest), GitClient::Guest, stream));
        Ok(Self { shared, origin, socket: socket.to_owned(), _accepting: [controller, guest] })
    }

    /// Scheme, address and port of the controller's listener: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn controller_origin(&self) -> &str {
        &self.origin
    }

    /// The guest's listener.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What a request must carry.
    #[must_use]
    pub fn credential(&self) -> &Credential {
        &self.shared.credential
    }

    /// The URL, at `origin`, of a repository below the served directory; none for one elsewhere.
    #[must_use]
    pub fn url_of(&self, origin: &str, repository: &Path) -> Option<Url> {
        let repository = repository.canonicalize().ok()?;
        let below = repository.strip_prefix(&self.shared.root).ok()?;
        let mut url = Url::parse(origin).ok()?;
        url.path_segments_mut().ok()?.pop_if_empty().extend(below.iter().map(|segment| segment.to_string_lossy()));
        Some(url)
    }

    /// The path that `url`, at the controller's origin, stands for.
    pub(crate) fn path_of(&self, url: &Url) -> Option<PathBuf> {
        let ours = url.origin().ascii_serialization() == self.origin;
        let below = Url::parse(&format!("file://{}", url.path())).ok()?.to_file_path().ok()?;
        ours.then(|| self.shared.root.join(below.strip_prefix("/").unwrap_or(&below)))
    }

    /// Every request answered so far, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<GitRequest> {
        let requests = self.shared.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve<S>(shared: Arc<Shared>, client: GitClient, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(shared.logged(client, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, ?client, "a git client's connection ended early");
    }
}

impl Shared {
    async fn logged(&self, client: GitClient, request: Request<Incoming>) -> Response<Body> {
        let method = request.method().to_string();
        let path = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
        let response = self.answer(request).await.unwrap_or_else(|error| {
            tracing::error!(%error, %path, "a git request could not be answered");
            refuse(StatusCode::INTERNAL_SERVER_ERROR)
        });
        let entry = GitRequest { client, method, path, status: response.status().as_u16() };
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.push(entry);
        response
    }

    async fn answer(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let uri = request.uri().clone();
        let asked = Service::of(request.method().as_str(), uri.path(), uri.query());
        let repository = asked.and_then(|(_, path)| Repository::locate(&self.root, path));
        let open = repository.as_ref().is_some_and(|found| found.exported);
        // Asked before anything else, so that a stranger cannot tell what is there from what is not.
        if !open && !self.credential.opens(request.headers()) {
            return Ok(unauthorized());
        }
        match (asked, repository) {
            (Some((service, _)), Some(repository)) => self.backend.answer(&repository, service, request).await,
            (None, _) if writes(&request) => Ok(refuse(StatusCode::FORBIDDEN)),
            _ => Ok(refuse(StatusCode::NOT_FOUND)),
        }
    }
}

fn writes(request: &Request<Incoming>) -> bool {
    let receive_pack = |text: Option<&str>| text.is_some_and(|t| t.ends_with("git-receive-pack"));
    let reading = [Method::GET, Method::HEAD, Method::POST].contains(request.method());
    !reading || receive_pack(request.uri().query()) || receive_pack(Some(request.uri().path()))
}

fn unauthorized() -> Response<Body> {
    let mut response = refuse(StatusCode::UNAUTHORIZED);
    let challenge = HeaderValue::from_static("Basic realm=\"coldproof\"");
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    response
}

fn refuse(status: StatusCode) -> Response<Body> {
    let reason = status.canonical_reason().unwrap_or_default();
    let body = Full::new(Bytes::from_static(reason.as_bytes()));
    let mut response = Response::new(body.map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    response
}
