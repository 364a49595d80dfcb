//! A server that answers as Incus does where a virtual machine is concerned, over mutual TLS. It has one at most.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use coldproof_incus::server::{Server, ServerTrust};
use futures::FutureExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Mutex, MutexGuard},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{handshake::derive_accept_key, protocol::Role},
};

use crate::{
    operation::{End, Operation, Sockets, Streams},
    vm::{Agent, HangUp, Refusal, Vm},
};

/// What an image's alias leads to.
pub(crate) const IMAGE: &str = "ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12";
/// A command that the agent does not outlive.
pub(crate) const FATAL: &str = "the agent goes away";
const CONSOLE: &str = "[    1.0] a virtual machine's console\n";
const OFFLINE: &str = "VM agent isn't currently running";

/// The server. It ends when this is dropped.
pub(crate) struct Fake {
    shared: Arc<Shared>,
    /// As its client names it.
    pub(crate) server: Server,
    accepting: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

struct Shared {
    state: Mutex<State>,
    agent: Agent,
    hang_up: HangUp,
}

#[derive(Default)]
struct State {
    vm: Option<Vm>,
    operations: BTreeMap<String, Operation>,
    asked: Vec<String>,
    interfere: bool,
}

/// What is answered.
enum Answer {
    Sync(Value),
    Tagged(Value, String),
    Async(Operation),
    Text(&'static str),
    Refused(Refusal),
}

impl Fake {
    pub(crate) async fn start(dir: &Path, agent: Agent, hang_up: HangUp) -> anyhow::Result<Self> {
        let (client, own) = (KeyPair::generate()?, KeyPair::generate()?);
        let (client_cert, own_cert) =
            (CertificateParams::new([])?.self_signed(&client)?, CertificateParams::new([])?.self_signed(&own)?);
        let (certificate, key) = (dir.join("client.crt"), dir.join("client.key"));
        fs::write(&certificate, client_cert.pem())?;
        fs::write(&key, client.serialize_pem())?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        let mut roots = RootCertStore::empty();
        roots.add(client_cert.der().clone())?;
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build()?;
        let own_key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.serialize_der()));
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![own_cert.der().clone()], own_key)?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let server = Server {
            url: format!("https://{}", listener.local_addr()?).parse()?,
            project: "proof".to_owned(),
            certificate,
            key,
            trust: ServerTrust::Fingerprint(hex::encode(Sha256::digest(own_cert.der()))),
            proxy: None,
        };
        let shared = Arc::new(Shared { state: Mutex::default(), agent, hang_up });
        let accepting = tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(tls)), shared.clone()));
        Ok(Self { shared, server, accepting })
    }

    /// What was asked of it that changes something or runs a command, in this order.
    pub(crate) async fn asked(&self) -> Vec<String> {
        self.shared.state.lock().await.asked.clone()
    }

    /// The limit on the machine's memory; `None` when there is no machine.
    pub(crate) async fn memory(&self) -> Option<String> {
        self.shared.state.lock().await.vm.as_ref().and_then(|vm| vm.config.get("limits.memory").cloned())
    }

    /// Has the machine's guest reboot.
    pub(crate) async fn reboot(&self) -> anyhow::Result<()> {
        self.shared.state.lock().await.vm.as_mut().context("it is there")?.reboot().await
    }

    /// Has somebody else change the machine right after it is looked at the next time.
    pub(crate) async fn interfere(&self) {
        self.shared.state.lock().await.interfere = true;
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(connection(stream, tls.clone(), shared.clone()));
    }
}

async fn connection(stream: TcpStream, tls: TlsAcceptor, shared: Arc<Shared>) -> anyhow::Result<()> {
    let stream = tls.accept(stream).await?;
    let service = service_fn(|request| {
        let shared = shared.clone();
        async move { shared.answer(request).await.map_err(|error| error.to_string()) }.boxed()
    });
    Ok(http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await?)
}

impl Shared {
    async fn answer(self: Arc<Self>, mut request: Request<Incoming>) -> anyhow::Result<Response<Full<Bytes>>> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let query: BTreeMap<String, String> =
            url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect();
        if path.ends_with("/websocket") {
            return self.websocket(&path, query["secret"].clone(), request).await;
        }
        let etag = request.headers().get(header::IF_MATCH).and_then(|tag| tag.to_str().ok()).unwrap_or_default();
        let etag = etag.to_owned();
        let body = request.body_mut().collect().await?.to_bytes();
        let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? };
        let segments: Vec<&str> = path.trim_start_matches("/1.0").trim_matches('/').split('/').collect();
        response(match (&method, segments.as_slice()) {
            (&Method::GET, [""]) => Answer::Sync(json!({"auth": "trusted"})),
            (&Method::GET, ["projects", _]) => Answer::Sync(json!({})),
            (&Method::GET, ["profiles", _]) => Answer::Sync(json!({"devices": {"root": {"pool": "pool"}}})),
            (&Method::GET, ["images", "aliases", "nixos"]) => Answer::Sync(json!({"target": IMAGE})),
            (&Method::GET, ["resources"]) => Answer::Sync(json!({"memory": {"total": 64_u64 << 30}})),
            (&Method::GET, ["operations"]) => Answer::Sync(json!({})),
            (&Method::GET, ["operations", id, "wait"]) => self.wait(id, &query["timeout"]).await,
            (&Method::GET, ["instances"]) => self.list().await?,
            (&Method::POST, ["instances"]) => self.create(&body).await?,
            (_, ["instances", name, rest @ ..]) => self.on_vm(&method, name, rest, &etag, &body).await?,
            _ => Answer::Refused((501, format!("{method} {path} is not played"))),
        })
    }

    async fn on_vm(
        self: &Arc<Self>,
        method: &Method,
        name: &str,
        rest: &[&str],
        etag: &str,
        body: &Value,
    ) -> anyhow::Result<Answer> {
        let mut state = self.state.lock().await;
        if state.vm.as_ref().is_none_or(|vm| vm.name != name) {
            return Ok(Answer::Refused((404, "Instance not found".to_owned())));
        }
        let interfere = rest.is_empty() && method == Method::GET && std::mem::take(&mut state.interfere);
        let vm = state.vm.as_mut().context("it is there")?;
        Ok(match (method, rest) {
            (&Method::GET, []) => {
                let (described, etag) = vm.describe()?;
                if interfere {
                    vm.config.insert("user.somebody".to_owned(), "else".to_owned());
                }
                Answer::Tagged(described, etag)
            }
            (&Method::GET, ["state"]) => Answer::Sync(vm.look().await?),
            (&Method::GET, ["console"]) => Answer::Text(CONSOLE),
            (&Method::PATCH, []) => {
                let changed = vm.change(etag, &body["config"])?;
                state.asked.push(format!("patch, {}", if changed.is_ok() { "taken" } else { "refused" }));
                changed.map_or_else(Answer::Refused, |()| Answer::Sync(json!({})))
            }
            (&Method::PUT, ["state"]) => self.change_state(state, body).await?,
            (&Method::DELETE, []) => {
                let deleted = vm.delete().await?;
                state.asked.push(format!("delete, {}", if deleted.is_ok() { "taken" } else { "refused" }));
                match deleted {
                    Err(refusal) => Answer::Refused(refusal),
                    Ok(()) => {
                        state.vm = None;
                        ended(&mut state, Ok(json!({})))
                    }
                }
            }
            (&Method::POST, ["exec"]) => {
                let agent = if vm.has_agent() { "with" } else { "without" };
                state.asked.push(format!("exec {agent}"));
                let (operation, sockets) = begun(&mut state);
                tokio::spawn(self.clone().exec(body.clone(), operation.clone(), sockets));
                Answer::Async(operation)
            }
            _ => Answer::Refused((501, format!("{method} {rest:?} is not played"))),
        })
    }

    async fn list(&self) -> anyhow::Result<Answer> {
        let mut state = self.state.lock().await;
        let described = state.vm.as_mut().map(Vm::describe).transpose()?;
        Ok(Answer::Sync(described.map(|(described, _)| described).into_iter().collect()))
    }

    async fn create(&self, body: &Value) -> anyhow::Result<Answer> {
        let mut state = self.state.lock().await;
        anyhow::ensure!(state.vm.is_none() && body["source"]["fingerprint"] == IMAGE, "{body}");
        state.vm = Some(Vm::new(body, self.agent)?);
        state.asked.push("create".to_owned());
        Ok(ended(&mut state, Ok(json!({}))))
    }

    async fn change_state(&self, mut state: MutexGuard<'_, State>, body: &Value) -> anyhow::Result<Answer> {
        let (action, force) = (body["action"].as_str().unwrap_or_default(), body["force"] == true);
        state.asked.push(format!("{action}{}", if force { " by force" } else { "" }));
        let vm = state.vm.as_mut().context("it is there")?;
        let end = match (action, vm.runs()?) {
            ("start", false) => vm.start().await,
            ("stop", true) => vm.stop(force).await,
            (action, _) => return Ok(ended(&mut state, Err(format!("The instance does not take {action:?} now")))),
        };
        end?;
        Ok(ended(&mut state, Ok(json!({}))))
    }

    /// What the server does after it has told the client of the operation.
    async fn exec(self: Arc<Self>, body: Value, operation: Operation, mut sockets: Sockets) {
        let end = self.run(&body, &mut sockets).await;
        operation.finish(end.unwrap_or_else(|error| Err(error.to_string())));
    }

    async fn run(&self, body: &Value, sockets: &mut Sockets) -> anyhow::Result<End> {
        let argv: Vec<String> = serde_json::from_value(body["command"].clone())?;
        let streams = Streams::opened(sockets).await?;
        let mut state = self.state.lock().await;
        let vm = state.vm.as_mut().context("it is there")?;
        let Some(guest) = vm.guest.as_ref().filter(|_| vm.has_agent()) else {
            // The streams are closed without a word before the operation ends.
            return Ok(Err(OFFLINE.to_owned()));
        };
        if argv.iter().any(|argument| argument.contains(FATAL)) {
            vm.lose_agent();
            drop(state);
            streams.break_off().await?;
            return Ok(match self.hang_up {
                HangUp::Words => Err("Disconnected".to_owned()),
                HangUp::Status => Ok(json!({"return": 129})),
            });
        }
        let path = body["environment"]["PATH"].as_str().context("a path")?;
        let command = guest.command(&argv, path);
        drop(state);
        let status = streams.run(command).await?;
        Ok(match status.code() {
            Some(127) => Err("Command not found".to_owned()),
            Some(code) => Ok(json!({"return": code})),
            None => Ok(json!({"return": 137})),
        })
    }

    async fn wait(&self, id: &str, timeout: &str) -> Answer {
        let Some(operation) = self.state.lock().await.operations.get(id).cloned() else {
            return Answer::Refused((404, "Operation not found".to_owned()));
        };
        match operation.wait(Duration::from_secs(timeout.parse().unwrap_or(1))).await {
            Some(ended) => Answer::Sync(ended),
            None => Answer::Refused((500, "context deadline exceeded".to_owned())),
        }
    }

    async fn websocket(
        &self,
        path: &str,
        secret: String,
        mut request: Request<Incoming>,
    ) -> anyhow::Result<Response<Full<Bytes>>> {
        let id = path.split('/').nth(3).unwrap_or_default();
        let operation = self.state.lock().await.operations.get(id).cloned().context("an operation")?;
        let key = request.headers().get(header::SEC_WEBSOCKET_KEY).context("a key")?.clone();
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let stream = TokioIo::new(upgrade.await?);
            let socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
            operation.open(secret, socket).await;
            anyhow::Ok(())
        });
        Ok(Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()))
            .body(Full::default())?)
    }
}

fn begun(state: &mut State) -> (Operation, Sockets) {
    let id = format!("operation-{}", state.operations.len());
    let (operation, sockets) = Operation::new(id.clone());
    state.operations.insert(id, operation.clone());
    (operation, sockets)
}

/// An operation that is over as soon as it has begun.
fn ended(state: &mut State, end: End) -> Answer {
    let (operation, _) = begun(state);
    operation.finish(end);
    Answer::Async(operation)
}

fn response(answer: Answer) -> anyhow::Result<Response<Full<Bytes>>> {
    let mut response = Response::builder();
    let body = match answer {
        Answer::Sync(metadata) => json!({"type": "sync", "status_code": 200, "metadata": metadata}),
        Answer::Tagged(metadata, etag) => {
            response = response.header(header::ETAG, etag);
            json!({"type": "sync", "status_code": 200, "metadata": metadata})
        }
        Answer::Async(operation) => json!({"type": "async", "status_code": 100, "metadata": operation.describe()}),
        Answer::Text(text) => return Ok(response.body(Full::from(text))?),
        Answer::Refused((code, words)) => {
            response = response.status(code);
            json!({"type": "error", "error_code": code, "error": words})
        }
    };
    Ok(response.body(Full::from(body.to_string()))?)
}
