//! Websockets of an operation: one a stream of a command.

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};
use url::form_urlencoded;

use crate::{client::Client, error::IncusError};

/// One stream of a command. Each direction is bytes; the end is an empty text message, as an
/// empty binary one is nothing.
pub(crate) struct Channel(WebSocketStream<TlsStream<TcpStream>>);

impl Channel {
    /// Opens the websocket of `operation` that goes by `secret`.
    pub(crate) async fn open(client: &Client, operation: &str, secret: &str) -> Result<Self, IncusError> {
        let what = "open a stream of a command";
        let stream = client.dialer().dial().await?;
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("secret", secret).finish();
        // The stream is encrypted already, so `wss` would only ask for what is there.
        let url = format!("ws://{}/1.0/operations/{operation}/websocket?{query}", client.dialer().authority());
        let (socket, _) = client_async(url, stream).await.map_err(|error| client.dialer().cut(what, error))?;
        Ok(Self(socket))
    }

    pub(crate) async fn send(&mut self, bytes: Bytes) -> Result<(), String> {
        self.0.send(Message::Binary(bytes)).await.map_err(|error| error.to_string())
    }

    pub(crate) async fn send_text(&mut self, text: String) -> Result<(), String> {
        self.0.send(Message::text(text)).await.map_err(|error| error.to_string())
    }

    /// Says that nothing more comes.
    pub(crate) async fn finish(&mut self) -> Result<(), String> {
        self.send_text(String::new()).await
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// When the connection ends without saying that the stream has.
    pub(crate) async fn receive(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Binary(bytes))) => return Ok(Some(bytes)),
                Some(Ok(Message::Text(_) | Message::Close(_))) => return Ok(None),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err("the connection ended".to_owned()),
            }
        }
    }
}
