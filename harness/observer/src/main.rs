//! The static binary that observes from inside the guest.
//!
//! It judges nothing. Each subcommand reads one JSON document from standard input, or takes the arguments shown, and
//! writes one to standard output; what stood in its way goes to standard error, with a nonzero exit code.

mod accounts;
mod bus;
mod checkout;
mod closure;
mod delivery;
mod inventory;
mod journal;
mod leaks;
mod manager;
mod mounts;
mod nar;
mod program;
mod recorder;
mod search;
mod secrets;
mod sockets;
mod starts;
mod swarm;
mod system;
mod unit_files;
mod units;

use std::{
    env,
    io::{self, Read as _, Write as _},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, bail};
use coldproof_evidence::request::{ClosureRequest, InventoryRequest, ObserveRequest};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::{Zeroize as _, Zeroizing};

const USAGE: &str = "\
usage: observer inventory  < InventoryRequest  > Inventory
       observer observe    < ObserveRequest    > SystemObservation
       observer leaks      < LeaksRequest      > LeaksObservation
       observer closure    < ClosureRequest    > [StorePathObservation]
       observer deliver PATH   < SECRET            > DeliveredFile
       observer delivered PATH < SECRET            > DeliveredFile
       observer record --dir DIR -- COMMAND…
       observer wait --dir DIR --at-most-ms MS > Progress";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("observer: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["inventory"] => answer(&inventory::observe(&request::<InventoryRequest>()?)?),
        ["observe"] => {
            let mut request: ObserveRequest = request()?;
            let observation = system::observe(&request);
            request.hmac_key.zeroize();
            answer(&observation?)
        }
        ["leaks"] => answer(&leaks::observe(request()?)?),
        ["closure"] => answer(&closure::observe(&request::<ClosureRequest>()?.path)?),
        ["deliver", path] => {
            let (secret, path) = (delivery::receive()?, Path::new(path));
            delivery::deliver(&secret, path)?;
            answer(&delivery::look(&secret, path))
        }
        ["delivered", path] => answer(&delivery::look(&delivery::receive()?, Path::new(path))),
        ["record", "--dir", dir, "--", ..] => recorder::record(Path::new(dir), &arguments[4..]),
        ["wait", "--dir", dir, "--at-most-ms", at_most] => {
            let at_most = at_most.parse().with_context(|| format!("`{at_most}` is no number of milliseconds"))?;
            answer(&recorder::wait(Path::new(dir), Duration::from_millis(at_most))?)
        }
        _ => bail!("wrong arguments\n{USAGE}"),
    }
}

/// Reads the request. Its bytes may hold the run's key, so they are wiped.
fn request<T: DeserializeOwned>() -> anyhow::Result<T> {
    // Room for any request from the start: growing would leave unwiped copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(1 << 20));
    io::stdin().lock().read_to_end(&mut bytes).context("reading the request from standard input")?;
    serde_json::from_slice(&bytes).context("the request on standard input is not what this subcommand reads")
}

fn answer(value: &impl Serialize) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, value)?;
    stdout.write_all(b"\n")?;
    stdout.flush().context("writing the answer to standard output")
}
