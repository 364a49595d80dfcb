//! Job results, which systemd tells in signals and never again.

use std::os::fd::{AsFd as _, BorrowedFd};

use coldproof_evidence::rebuild::JobResult;

use crate::{
    bus::{Bus, BusError, Reader, WireError},
    manager::manager_call,
    system::now_us,
};

const PEER: &str = "org.freedesktop.DBus.Peer";

/// A subscription to the results of all jobs. When systemd executes itself anew its connections end: then the
/// subscription is renewed, and it is remembered that results may have been missed.
pub(super) struct Subscription {
    bus: Option<Bus>,
    jobs: Vec<JobResult>,
    unbroken: bool,
}

impl Subscription {
    /// Subscribes.
    pub(super) fn new() -> Result<Self, BusError> {
        Ok(Self { bus: Some(subscribe()?), jobs: Vec::new(), unbroken: true })
    }

    /// The connection to wait on; none while it is lost.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.bus.as_ref().map(Bus::as_fd)
    }

    /// Reads what has arrived; to be called when something has.
    pub(super) fn receive(&mut self) {
        self.with_bus(Bus::fill);
    }

    /// Subscribes again if the connection was lost and systemd is there again.
    pub(super) fn renew(&mut self) {
        if self.bus.is_none() {
            self.bus = subscribe().ok();
        }
    }

    /// Takes all results that systemd sent before this moment: its answer to a question comes after them.
    pub(super) fn finish(mut self) -> (Vec<JobResult>, bool) {
        self.with_bus(|bus| bus.call(&crate::bus::Call { interface: PEER, ..manager_call("Ping", &[]) }).map(drop));
        (self.jobs, self.unbroken)
    }

    fn with_bus(&mut self, action: impl FnOnce(&mut Bus) -> Result<(), BusError>) {
        let Some(bus) = &mut self.bus else { return };
        let outcome = action(bus);
        // What arrived before a failure counts all the same.
        if let Err(error) = take_jobs(bus, &mut self.jobs).and(outcome) {
            eprintln!("observer: job results may be missing: {error}");
            self.unbroken = false;
            self.bus = None;
        }
    }
}

fn take_jobs(bus: &mut Bus, jobs: &mut Vec<JobResult>) -> Result<(), BusError> {
    while let Some((name, body)) = bus.next_signal()? {
        if name == "JobRemoved" {
            jobs.push(job_result(&body)?);
        }
    }
    Ok(())
}

/// The private socket sends all signals anyway; `Subscribe` is what the interface asks for.
fn subscribe() -> Result<Bus, BusError> {
    let mut bus = Bus::connect()?;
    bus.call(&manager_call("Subscribe", &[]))?;
    Ok(bus)
}

/// Body of `JobRemoved`, `uoss`: number, job, unit, result.
fn job_result(body: &[u8]) -> Result<JobResult, WireError> {
    let mut reader = Reader::new(body);
    let _number = reader.u32()?;
    let _job = reader.string()?;
    Ok(JobResult { unit: reader.string()?, result: reader.string()?, at_us: now_us() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_of_a_signal_is_read() {
        let body = b"\x07\0\0\0\x02\0\0\0/j\0\0\x09\0\0\0a.service\0\0\0\x06\0\0\0failed\0";
        let job = job_result(body).unwrap();
        assert_eq!((job.unit.as_str(), job.result.as_str()), ("a.service", "failed"));
        assert!(job_result(&body[..20]).is_err());
    }
}
