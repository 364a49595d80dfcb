//! Requests and answers: what is sent, and how a failure on the way is named.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use reqwest::{Method, Proxy, StatusCode, header, multipart::Form, redirect::Policy};
use serde_json::Value;
use url::form_urlencoded;

use crate::{connection::Dialer, error::IncusError, server::Server};

/// The server ends a connection that was idle for 30 s; one that is as old as this is not used again.
const IDLE: Duration = Duration::from_secs(20);

/// One request, before it is sent.
pub(crate) struct Call {
    /// What it is for, in messages.
    pub(crate) what: String,
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    headers: Vec<(&'static str, String)>,
    content: Content,
}

enum Content {
    Bytes(Bytes),
    Form(Form),
}

impl Call {
    pub(crate) fn new(method: Method, path: impl Into<String>, what: impl Into<String>) -> Self {
        let (query, headers, content) = (Vec::new(), Vec::new(), Content::Bytes(Bytes::new()));
        Self { what: what.into(), method, path: path.into(), query, headers, content }
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").bytes(body.to_string())
    }

    pub(crate) fn bytes(mut self, bytes: impl Into<Bytes>) -> Self {
        self.content = Content::Bytes(bytes.into());
        self
    }

    pub(crate) fn form(mut self, form: Form) -> Self {
        self.content = Content::Form(form);
        self
    }

    pub(crate) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) etag: Option<String>,
    pub(crate) body: Bytes,
}

/// Sends requests to one server as one client.
pub(crate) struct Http {
    client: reqwest::Client,
    pub(crate) dialer: Dialer,
}

impl Http {
    pub(crate) fn new(server: &Server) -> Result<Self, IncusError> {
        let dialer = Dialer::new(server)?;
        let unusable = |error: reqwest::Error| IncusError::Setting {
            setting: "proxy",
            problem: chain(&error),
            remedy: "write it as socks5h://host:port".to_owned(),
        };
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured((*dialer.identity.tls).clone())
            .user_agent(concat!("coldproof/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .pool_idle_timeout(IDLE);
        // What the environment says about proxies is not what the host definition says.
        let builder = match &server.proxy {
            Some(proxy) => builder.proxy(Proxy::all(proxy.as_str()).map_err(unusable)?),
            None => builder.no_proxy(),
        };
        Ok(Self { client: builder.build().map_err(unusable)?, dialer })
    }

    pub(crate) async fn send(&self, call: Call) -> Result<Answer, IncusError> {
        let what = call.what.clone();
        let cut = |error: reqwest::Error| self.dialer.cut(&what, chain(&error));
        let response = match self.request(call).send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() => return Err(self.unconnected(&what, &error).await),
            Err(error) => return Err(cut(error)),
        };
        let status = response.status();
        let etag = response.headers().get(header::ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        Ok(Answer { status, etag, body: response.bytes().await.map_err(cut)? })
    }

    fn request(&self, call: Call) -> reqwest::RequestBuilder {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(&call.query).finish();
        let url = format!("https://{}{}?{query}", self.dialer.authority(), call.path);
        let mut request = self.client.request(call.method, url);
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        match call.content {
            Content::Bytes(bytes) => request.body(bytes),
            Content::Form(form) => request.multipart(form),
        }
    }

    /// To reqwest a proxy that is down, a server that is, and one that is another are all one; so the dialer looks.
    async fn unconnected(&self, what: &str, error: &reqwest::Error) -> IncusError {
        match self.dialer.dial().await {
            Err(named) => named,
            Ok(_) => self.dialer.cut(what, chain(error)),
        }
    }
}

/// An error with all that is behind it: the outermost only says that something failed.
fn chain(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}
