//! What was seen from outside the guest: TLS, HTTP, packets, and the machine's end.

use serde::{Deserialize, Serialize};

/// All TLS probes of a run, made at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsObservation {
    /// When: seconds since the epoch by the controller's clock; validity is judged at this time.
    pub at_secs: i64,
    /// One probe a name.
    pub probes: Vec<TlsProbe>,
    /// Hellos that offer nothing newer than a version that is to be refused.
    #[serde(default)]
    pub old_versions: Vec<OldVersionProbe>,
    /// Hellos for names that are not the host's.
    #[serde(default)]
    pub unknown_names: Vec<UnknownNameProbe>,
}

/// One TLS connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsProbe {
    /// The name sent as SNI.
    pub name: String,
    /// Whether the name is the random one under the wildcard.
    pub random: bool,
    /// The address connected to: the machine's own leased one, never from DNS.
    pub peer: String,
    /// Certificates served, leaf first, lower-case hex of the DER; none if no certificate was received.
    pub chain_der: Vec<String>,
    /// Whether path building to the declared roots succeeded, names left aside: `Ok` or the verifier's words.
    pub path: Result<(), String>,
    /// Whether the handshake finished, which proves possession of the leaf's key: the protocol version or the error.
    pub handshake: Result<String, String>,
}

/// One ClientHello whose newest version is one that is to be refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldVersionProbe {
    /// The name sent as SNI.
    pub name: String,
    /// The newest version that was offered: `TLSv1.0` or `TLSv1.1`.
    pub version: String,
    /// The address connected to.
    pub peer: String,
    /// What became of it; `Accepted` holds the version that the server chose.
    pub reception: Reception,
}

/// One ClientHello for a name that is not the host's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownNameProbe {
    /// The name sent as SNI.
    pub name: String,
    /// The address connected to.
    pub peer: String,
    /// What became of it; `Accepted` holds the leaf that was served, lower-case hex of the DER.
    pub reception: Reception,
}

/// How a server received a ClientHello that it has reason to refuse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reception {
    /// It went on with the handshake.
    Accepted(String),
    /// It refused by an alert, whose name or number this is.
    Refused(String),
    /// It ended the connection without a word. So does a port behind which nobody listens, where it is forwarded.
    Closed,
    /// There was no connection, or no answer in time, or one that is not TLS: nothing can be concluded.
    Unanswered(String),
}

/// All HTTP probes of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpObservation {
    /// One probe a declared URL.
    pub probes: Vec<HttpProbe>,
}

/// One HTTP request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpProbe {
    /// The service's name in the host definition.
    pub service: String,
    /// The URL.
    pub url: String,
    /// Status, or why there was none.
    pub status: Result<u16, String>,
}

/// What the guest sent towards the outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressObservation {
    /// Packets that were captured and read.
    pub packets: u64,
    /// Each destination that was tried, once.
    pub attempts: Vec<EgressAttempt>,
    /// Why the capture may be incomplete, if it may.
    pub incomplete: Option<String>,
}

/// One destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressAttempt {
    /// `tcp`, `udp`, `icmp`, `dns` or `connect` (a request to the proxy).
    pub protocol: String,
    /// `address:port`, `host:port` for a CONNECT, or the name asked for in DNS.
    pub destination: String,
    /// How many packets or requests.
    pub count: u64,
    /// What it is where the harness itself declared it (`git`, `proxy`, `dhcp`), else empty.
    pub declared_as: String,
    /// Whether it got through.
    pub allowed: bool,
}

/// What was left after the run's machines were destroyed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeardownObservation {
    /// Whether a machine was kept on purpose (`--keep`).
    pub kept: bool,
    /// Everything that the run had made, and whether it is gone.
    pub items: Vec<TeardownItem>,
}

/// One thing the run made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeardownItem {
    /// `process`, `disk`, `socket`, `cgroup`, `directory`, `ledger-entry`, `key-file`, `port`…
    pub kind: String,
    /// Which one.
    pub what: String,
    /// Whether a look confirmed that it is gone.
    pub gone: bool,
    /// Why it is left, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
