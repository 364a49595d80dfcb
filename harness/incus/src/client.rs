//! The REST client: requests, answers, and what a refusal means.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use coldproof_machines::deadline::Deadline;
use reqwest::{Method, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use url::form_urlencoded;

use crate::{
    connection::Dialer,
    error::{IncusError, explain},
    http::{Answer, Call, Http},
    operation::Operation,
    server::Server,
};

/// A client of one project of a server. Clones share their connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    server: Server,
    http: Http,
    /// Whether the server ever took our certificate: what it refuses later was revoked.
    trusted: AtomicBool,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("server", &self.inner.server).finish_non_exhaustive()
    }
}

/// A successful answer. Its kind is told by the body's `type`, never by the HTTP status.
pub(crate) enum Reply {
    Sync { metadata: Value, etag: Option<String> },
    Async(Operation),
}

/// The envelope of every JSON answer.
#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    metadata: Value,
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_code: u16,
}

/// The part of `GET /1.0` that says who we are.
#[derive(Deserialize)]
struct ServerInfo {
    auth: String,
}

impl Client {
    /// Connects, and makes sure that the server is the one that is meant, takes our certificate
    /// and opens the project to it.
    ///
    /// # Errors
    /// [`IncusError`], which tells these apart.
    pub async fn connect(server: &Server, deadline: Deadline) -> Result<Self, IncusError> {
        let (http, trusted) = (Http::new(server)?, AtomicBool::new(false));
        let client = Self { inner: Arc::new(Inner { server: server.clone(), http, trusted }) };
        client.check_trust(deadline).await?;
        let project =
            Call::new(Method::GET, format!("/1.0/projects/{}", segment(&server.project)), "look at the project");
        client.get::<Value>(project, deadline).await.map_err(|error| match error {
            IncusError::NotFound { reason, .. } => IncusError::WrongProject { project: server.project.clone(), reason },
            error => error,
        })?;
        Ok(client)
    }

    /// The server and the project that this is a client of.
    pub fn server(&self) -> &Server {
        &self.inner.server
    }

    /// SHA-256 of our certificate: who we are to the server.
    pub fn fingerprint(&self) -> &str {
        &self.inner.http.dialer.identity.fingerprint
    }

    pub(crate) fn dialer(&self) -> &Dialer {
        &self.inner.http.dialer
    }

    /// The server answers anybody who asks whether it trusts them.
    async fn check_trust(&self, deadline: Deadline) -> Result<(), IncusError> {
        let what = "ask whether the certificate is trusted";
        let response = self.send(Call::new(Method::GET, "/1.0", what), deadline).await?;
        let info: ServerInfo = decode(what, envelope(what, &response)?.metadata)?;
        if info.auth == "trusted" {
            self.inner.trusted.store(true, Ordering::Relaxed);
            return Ok(());
        }
        let (identity, path) = (&self.inner.http.dialer.identity, self.inner.server.certificate.clone());
        let project = self.inner.server.project.clone();
        Err(match identity.expired() {
            Some(since) => IncusError::CertificateExpired { path, since, project },
            None if self.inner.trusted.load(Ordering::Relaxed) => IncusError::CertificateRevoked { path },
            None => IncusError::Untrusted { path, fingerprint: identity.fingerprint[..12].to_owned(), project },
        })
    }

    /// The metadata of a synchronous answer.
    pub(crate) async fn get<T: DeserializeOwned>(&self, call: Call, deadline: Deadline) -> Result<T, IncusError> {
        let what = call.what.clone();
        match self.call(call, deadline).await? {
            Reply::Sync { metadata, .. } => decode(&what, metadata),
            Reply::Async(_) => Err(unreadable(&what, "an operation, where a value is expected")),
        }
    }

    /// Starts an operation and waits for its end. Returns what the operation left.
    pub(crate) async fn run(&self, call: Call, deadline: Deadline) -> Result<Value, IncusError> {
        let what = call.what.clone();
        match self.call(call, deadline).await? {
            Reply::Sync { metadata, .. } => Ok(metadata),
            Reply::Async(operation) => self.wait(&what, &operation, deadline).await,
        }
    }

    /// Sends a request within our project and sorts the answer.
    pub(crate) async fn call(&self, call: Call, deadline: Deadline) -> Result<Reply, IncusError> {
        let call = call.query("project", &self.inner.server.project);
        let what = call.what.clone();
        let response = self.send(call, deadline).await?;
        self.sort(&what, &response, deadline).await
    }

    /// The raw bytes of an answer that is no JSON when it succeeds, such as a file.
    pub(crate) async fn bytes(&self, call: Call, deadline: Deadline) -> Result<Bytes, IncusError> {
        let call = call.query("project", &self.inner.server.project);
        let what = call.what.clone();
        let response = self.send(call, deadline).await?;
        if response.status == StatusCode::OK {
            return Ok(response.body);
        }
        self.sort(&what, &response, deadline).await?;
        Err(unreadable(&what, format!("HTTP status {}", response.status)))
    }

    async fn sort(&self, what: &str, response: &Answer, deadline: Deadline) -> Result<Reply, IncusError> {
        // What a dying server leaves of an answer that it has begun.
        if response.body.is_empty() {
            return Err(self.inner.http.dialer.cut(what, "the answer is empty"));
        }
        let envelope = envelope(what, response)?;
        match envelope.kind.as_str() {
            "sync" => Ok(Reply::Sync { metadata: envelope.metadata, etag: response.etag.clone() }),
            "async" => Ok(Reply::Async(decode(what, envelope.metadata)?)),
            "error" => Err(self.refusal(what, envelope.error_code, &envelope.error, deadline).await),
            kind => Err(unreadable(what, format!("an answer of type `{kind}`"))),
        }
    }

    /// A refused certificate looks like any other lack of permission, so ask about it.
    async fn refusal(&self, what: &str, code: u16, reason: &str, deadline: Deadline) -> IncusError {
        if code == StatusCode::FORBIDDEN
            && let Err(error) = Box::pin(self.check_trust(deadline)).await
        {
            return error;
        }
        let error = explain(what, &self.inner.server.project, code, reason);
        match error {
            // A certificate that is trusted, but not with this project.
            IncusError::Refused { code: 403, reason, .. } => {
                IncusError::WrongProject { project: self.inner.server.project.clone(), reason }
            }
            error => error,
        }
    }

    async fn send(&self, call: Call, deadline: Deadline) -> Result<Answer, IncusError> {
        let what = call.what.clone();
        deadline.bound(self.inner.http.send(call)).await.map_err(|_| IncusError::Deadline { what })?
    }
}

fn envelope(what: &str, response: &Answer) -> Result<Envelope, IncusError> {
    serde_json::from_slice(&response.body).map_err(|error| unreadable(what, error))
}

pub(crate) fn decode<T: DeserializeOwned>(what: &str, value: Value) -> Result<T, IncusError> {
    serde_json::from_value(value).map_err(|error| unreadable(what, error))
}

pub(crate) fn unreadable(what: &str, reason: impl std::fmt::Display) -> IncusError {
    IncusError::Protocol { what: what.to_owned(), reason: reason.to_string() }
}

/// A name as one segment of a path.
pub(crate) fn segment(name: &str) -> String {
    form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20")
}
