//! The link between the guest's network and the namespace that this program runs in.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddrV4},
    path::Path,
    process::{Command, id},
};

use coldproof_tunnel::{GATEWAY, GUEST_ADDRESS, NAMESERVER};

/// The guest's first process is in the guest's network, and this one is not.
const GUEST_NETWORK: [&str; 2] = ["--net=/proc/1/ns/net", "--"];
/// The card's address begins as QEMU's do, and the gateway's as libslirp's: who reads the packets tells them apart by it.
const GUEST_MAC: &str = "52:54:00:12:34:56";
const GATEWAY_MAC: &str = "52:55:0a:00:02:02";

/// Sorts before whatever the guest has for its cards. It is on a RAM file system: nothing of it stays.
const NETWORKD_FILE: &str = "/run/systemd/network/10-coldproof.network";

/// Makes the guest's card with its peer here, and gives this end the addresses of gateway, name server and services.
pub(crate) fn join(services: &[SocketAddrV4]) -> io::Result<()> {
    configure_guest()?;
    let own_id = id().to_string();
    let card = ["ip", "link", "add", "name", "eth0", "address", GUEST_MAC, "type", "veth"];
    let peer = ["peer", "name", "uplink", "address", GATEWAY_MAC, "netns", &own_id];
    in_guest(&[card.as_slice(), &peer].concat())?;
    let mut addresses: Vec<Ipv4Addr> = services.iter().map(|service| *service.ip()).collect();
    addresses.extend([GATEWAY, NAMESERVER]);
    addresses.sort_unstable();
    addresses.dedup();
    for address in addresses {
        run("ip", &["address", "add", &format!("{address}/24"), "dev", "uplink"])?;
    }
    // Nothing is passed on from here.
    fs::write("/proc/sys/net/ipv4/ip_forward", "0")?;
    run("ip", &["link", "set", "uplink", "up"])
}

/// Tells the guest's network manager what the card's address will be: nobody serves DHCP here.
fn configure_guest() -> io::Result<()> {
    let file = Path::new(NETWORKD_FILE);
    fs::create_dir_all(file.parent().unwrap_or(file))?;
    let text = format!(
        "[Match]\nName=eth0\n\n[Network]\nAddress={GUEST_ADDRESS}/24\nGateway={GATEWAY}\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
    );
    fs::write(file, text)?;
    in_guest(&["networkctl", "reload"])
}

fn in_guest(command: &[&str]) -> io::Result<()> {
    run("nsenter", &[GUEST_NETWORK.as_slice(), command].concat())
}

fn run(program: &str, arguments: &[&str]) -> io::Result<()> {
    let output = Command::new(program).args(arguments).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("{program} {}: {said}", arguments.join(" "))))
}
