//! Job results, which systemd tells in signals and never again.

use std::os::fd::{AsFd as _, BorrowedFd};

use coldproof_evidence::rebuild::{JobResult, Span};

use crate::{
    bus::{Bus, BusError, Call, Reader, WireError},
    manager::manager_call,
    system::now_us,
};

const PEER: &str = "org.freedesktop.DBus.Peer";

/// A subscription to the results of all jobs. When systemd executes itself anew its connections end: then the
/// subscription is renewed, and the span is remembered in which results may have been missed.
pub(super) struct Subscription {
    bus: Option<Bus>,
    connect: Connect,
    jobs: Vec<JobResult>,
    gaps: Vec<Span>,
    /// When systemd was last heard.
    heard_us: u64,
}

/// How a connection to systemd is made.
type Connect = Box<dyn FnMut() -> Result<Bus, BusError>>;

impl Subscription {
    /// Subscribes.
    pub(super) fn new() -> Result<Self, BusError> {
        Self::over(Box::new(Bus::connect))
    }

    fn over(mut connect: Connect) -> Result<Self, BusError> {
        let bus = subscribe(&mut connect)?;
        Ok(Self { bus: Some(bus), connect, jobs: Vec::new(), gaps: Vec::new(), heard_us: now_us() })
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
        if self.bus.is_none()
            && let Ok(bus) = subscribe(&mut self.connect)
        {
            self.bus = Some(bus);
            self.end_gap();
        }
    }

    /// Takes all results that systemd sent before this moment: its answer to a question comes after them.
    pub(super) fn finish(mut self) -> (Vec<JobResult>, Vec<Span>) {
        self.renew();
        self.with_bus(|bus| bus.call(&Call { interface: PEER, ..manager_call("Ping", &[]) }).map(drop));
        if self.bus.is_none() {
            self.end_gap();
        }
        (self.jobs, self.gaps)
    }

    fn with_bus(&mut self, action: impl FnOnce(&mut Bus) -> Result<(), BusError>) {
        let Some(bus) = &mut self.bus else { return };
        let outcome = action(bus);
        // What arrived before a failure counts all the same.
        match take_jobs(bus, &mut self.jobs).and(outcome) {
            Ok(()) => self.heard_us = now_us(),
            Err(error) => {
                eprintln!("observer: job results may be missing from now on: {error}");
                self.bus = None;
                self.gaps.push(Span { from_us: self.heard_us, to_us: u64::MAX });
            }
        }
    }

    fn end_gap(&mut self) {
        self.heard_us = now_us();
        if let Some(gap) = self.gaps.last_mut() {
            gap.to_us = self.heard_us;
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
fn subscribe(connect: &mut Connect) -> Result<Bus, BusError> {
    let mut bus = connect()?;
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
    use std::collections::VecDeque;

    use super::*;
    use crate::bus::{fake, wire};

    const DONE: &[u8] = b"\x07\0\0\0\x02\0\0\0/j\0\0\x09\0\0\0a.service\0\0\0\x04\0\0\0done\0";

    /// A systemd that answers so many of our calls, sends a job's result after the first, and hangs up.
    fn systemd(calls: usize) -> Result<Bus, BusError> {
        let subscribe = manager_call("Subscribe", &[]).encode(1).len();
        let ping = Call { interface: PEER, ..manager_call("Ping", &[]) }.encode(2).len();
        let subscribed = [wire::encode_return(1, b""), wire::encode_signal("JobRemoved", DONE)].concat();
        let mut steps = vec![(subscribe, subscribed), (ping, wire::encode_return(2, b""))];
        steps.truncate(calls);
        fake::systemd("OK 0123\r\n", steps)
    }

    /// Systemds that take one connection each, one after the other.
    fn systemds(calls: &[usize]) -> Connect {
        let mut systemds: VecDeque<_> = calls.iter().copied().collect();
        Box::new(move || {
            let calls = systemds.pop_front().ok_or_else(|| BusError::Refused("busy".to_owned()))?;
            systemd(calls)
        })
    }

    #[test]
    fn a_systemd_that_executes_itself_anew_is_subscribed_again() {
        let before = now_us();
        let mut subscription = Subscription::over(systemds(&[1, 2])).unwrap();
        while subscription.fd().is_some() {
            subscription.receive();
        }
        assert_eq!(subscription.jobs.len(), 1, "what came before the end counts");
        subscription.renew();
        assert!(subscription.fd().is_some());
        let (jobs, gaps) = subscription.finish();
        assert_eq!((jobs.len(), gaps.len()), (2, 1));
        assert!(before <= gaps[0].from_us && gaps[0].from_us <= gaps[0].to_us && gaps[0].to_us <= now_us());
    }

    #[test]
    fn a_systemd_that_does_not_come_back_leaves_a_gap_until_the_end() {
        let mut subscription = Subscription::over(systemds(&[1])).unwrap();
        while subscription.fd().is_some() {
            subscription.receive();
        }
        subscription.renew();
        let (_, gaps) = subscription.finish();
        assert!(gaps.len() == 1 && gaps[0].to_us <= now_us());
    }

    #[test]
    fn a_subscription_that_lasts_has_no_gap() {
        let (jobs, gaps) = Subscription::over(systemds(&[2])).unwrap().finish();
        assert_eq!((jobs.len(), gaps), (1, Vec::new()));
    }

    #[test]
    fn the_body_of_a_signal_is_read() {
        let body = b"\x07\0\0\0\x02\0\0\0/j\0\0\x09\0\0\0a.service\0\0\0\x06\0\0\0failed\0";
        let job = job_result(body).unwrap();
        assert_eq!((job.unit.as_str(), job.result.as_str()), ("a.service", "failed"));
        assert!(job_result(&body[..20]).is_err());
    }
}
