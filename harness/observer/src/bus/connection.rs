//! A connection to systemd.

use std::{
    collections::{HashMap, VecDeque},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    ops::RangeInclusive,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use super::wire::{self, Call, Message, Reader, WireError};

/// Where systemd listens for root.
const SOCKET: &str = "/run/systemd/private";
/// An answer of PID 1 takes milliseconds; this bounds a PID 1 that hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Calls that are under way at once, so few that neither side's socket buffer can fill up with both writing.
const WINDOW: usize = 64;

/// Why systemd could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BusError {
    #[error("{SOCKET}: {0}; is systemd running, and is this root?")]
    Connect(io::Error),
    #[error("{SOCKET}: systemd refused to authenticate us: `{0}`; run as root")]
    Refused(String),
    #[error("the connection to systemd was lost: {0}")]
    Lost(io::Error),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("systemd answers {0}: {1}")]
    Failed(String, String),
}

/// The body of what a call returned.
pub(crate) type Answer = Result<Vec<u8>, BusError>;

/// A connection to systemd.
pub(crate) struct Bus {
    stream: UnixStream,
    received: Vec<u8>,
    signals: VecDeque<(String, Vec<u8>)>,
    serial: u32,
}

impl Bus {
    /// Connects and authenticates as the user that runs us.
    pub(crate) fn connect() -> Result<Self, BusError> {
        Self::authenticate(UnixStream::connect(SOCKET).map_err(BusError::Connect)?)
    }

    /// Authenticates on a connection that is there.
    pub(super) fn authenticate(stream: UnixStream) -> Result<Self, BusError> {
        stream.set_read_timeout(Some(PATIENCE)).map_err(BusError::Connect)?;
        let user = hex::encode(rustix::process::geteuid().as_raw().to_string());
        // BEGIN is not kept back until the answer is there: should systemd read it together with our first call, it
        // would not look at that call before the next one arrives.
        let greeting = format!("\0AUTH EXTERNAL {user}\r\nBEGIN\r\n");
        (&stream).write_all(greeting.as_bytes()).map_err(BusError::Lost)?;
        let mut answer = String::new();
        // The server sends nothing of its own accord at once, so the reader holds nothing back.
        BufReader::new(&stream).read_line(&mut answer).map_err(BusError::Lost)?;
        if !answer.starts_with("OK ") {
            return Err(BusError::Refused(answer.trim().to_owned()));
        }
        Ok(Self { stream, received: Vec::new(), signals: VecDeque::new(), serial: 0 })
    }

    /// Makes one call and returns the body of its answer.
    pub(crate) fn call(&mut self, call: &Call<'_>) -> Answer {
        let sent = self.send(std::slice::from_ref(call))?;
        loop {
            if let Some((_, answer)) = self.receive_answer(&sent)? {
                return answer;
            }
        }
    }

    /// Makes all calls, many at once; the answers come in the order of the calls.
    pub(crate) fn call_all(&mut self, calls: &[Call<'_>]) -> Result<Vec<Answer>, BusError> {
        let mut answers = Vec::with_capacity(calls.len());
        for window in calls.chunks(WINDOW) {
            let sent = self.send(window)?;
            let mut answered = HashMap::new();
            while answered.len() < window.len() {
                answered.extend(self.receive_answer(&sent)?);
            }
            answers.extend(sent.filter_map(|serial| answered.remove(&serial)));
        }
        Ok(answers)
    }

    /// The next signal that was received already: its name and body.
    pub(crate) fn next_signal(&mut self) -> Result<Option<(String, Vec<u8>)>, BusError> {
        // Whatever arrived together with an answer is still unread.
        while let Some(message) = self.next_message()? {
            self.keep_signal(message);
        }
        Ok(self.signals.pop_front())
    }

    /// Waits for a signal of this name until the deadline; false when there was none.
    pub(crate) fn wait_for_signal(&mut self, names: &[&str], deadline: Instant) -> Result<bool, BusError> {
        loop {
            while let Some((name, _)) = self.next_signal()? {
                if names.contains(&name.as_str()) {
                    return Ok(true);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            self.stream.set_read_timeout(Some(left)).map_err(BusError::Lost)?;
            let read = self.fill();
            self.stream.set_read_timeout(Some(PATIENCE)).map_err(BusError::Lost)?;
            match read {
                Err(BusError::Lost(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                other => other?,
            }
        }
    }

    /// Sends the calls in one piece; returns their serials.
    fn send(&mut self, calls: &[Call<'_>]) -> Result<RangeInclusive<u32>, BusError> {
        let (first, mut bytes) = (self.serial + 1, Vec::new());
        for call in calls {
            self.serial += 1;
            bytes.extend(call.encode(self.serial));
        }
        self.stream.write_all(&bytes).map_err(BusError::Lost)?;
        Ok(first..=self.serial)
    }

    /// Receives one message; returns the answer and its call's serial if it is one of those that were sent.
    fn receive_answer(&mut self, sent: &RangeInclusive<u32>) -> Result<Option<(u32, Answer)>, BusError> {
        let message = loop {
            match self.next_message()? {
                Some(message) => break message,
                None => self.fill()?,
            }
        };
        match message {
            Message::Return { serial, body } if sent.contains(&serial) => Ok(Some((serial, Ok(body)))),
            Message::Error { serial, name, body } if sent.contains(&serial) => {
                let words = Reader::new(&body).string().unwrap_or_default();
                Ok(Some((serial, Err(BusError::Failed(name, words)))))
            }
            other => {
                self.keep_signal(other);
                Ok(None)
            }
        }
    }

    fn keep_signal(&mut self, message: Message) {
        if let Message::Signal { member, body } = message {
            self.signals.push_back((member, body));
        }
    }

    fn next_message(&mut self) -> Result<Option<Message>, BusError> {
        let Some(length) = wire::message_length(&self.received)? else { return Ok(None) };
        if self.received.len() < length {
            return Ok(None);
        }
        let message = wire::decode(&self.received[..length])?;
        self.received.drain(..length);
        Ok(Some(message))
    }

    /// Reads once from the socket, which blocks when nothing is there.
    pub(crate) fn fill(&mut self) -> Result<(), BusError> {
        let mut chunk = [0; 64 << 10];
        let count = loop {
            match self.stream.read(&mut chunk) {
                // A read with a time limit is not taken up again after a stop or a freeze (signal(7)).
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result.map_err(BusError::Lost)?,
            }
        };
        if count == 0 {
            return Err(BusError::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
        self.received.extend_from_slice(&chunk[..count]);
        Ok(())
    }
}

impl AsFd for Bus {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fake, *};

    const PING: Call<'_> = Call { path: "/", interface: "i.f", member: "Ping", arguments: &[] };

    /// A systemd that greets, waits for `calls` calls, says `answers`, and hangs up.
    fn served(greeting: &'static str, calls: usize, answers: &[Vec<u8>]) -> Result<Bus, BusError> {
        fake::systemd(greeting, vec![(PING.encode(1).len() * calls, answers.concat())])
    }

    #[test]
    fn answers_in_any_order_find_their_calls_and_signals_are_kept() {
        let answers = vec![
            wire::encode_return(2, b"two"),
            wire::encode_signal("JobRemoved", b"body"),
            wire::encode_return(1, b"one"),
        ];
        let mut bus = served("OK 0123\r\n", 2, &answers).unwrap();
        let bodies: Vec<_> = bus.call_all(&[PING, PING]).unwrap().into_iter().map(Result::unwrap).collect();
        assert_eq!(bodies, [b"one", b"two"]);
        assert_eq!(bus.next_signal().unwrap(), Some(("JobRemoved".to_owned(), b"body".to_vec())));
        assert_eq!(bus.next_signal().unwrap(), None);
    }

    #[test]
    fn a_connection_that_ends_is_lost() {
        let mut bus = served("OK 0123\r\n", 1, &[]).unwrap();
        assert!(matches!(bus.call(&PING), Err(BusError::Lost(_))));
    }

    #[test]
    fn a_refusal_is_told_in_systemds_words() {
        let Err(BusError::Refused(words)) = served("REJECTED EXTERNAL\r\n", 0, &[]) else { panic!("accepted") };
        assert_eq!(words, "REJECTED EXTERNAL");
    }

    #[test]
    fn a_signal_is_waited_for_until_the_deadline() {
        let answers =
            vec![wire::encode_return(1, b""), wire::encode_signal("UnitNew", b""), wire::encode_signal("X", b"")];
        let mut bus = served("OK 0123\r\n", 1, &answers).unwrap();
        bus.call(&PING).unwrap();
        assert!(bus.wait_for_signal(&["X"], Instant::now() + PATIENCE).unwrap());
        assert!(!bus.wait_for_signal(&["X"], Instant::now()).unwrap());
    }
}
