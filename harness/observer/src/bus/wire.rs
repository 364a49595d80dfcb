//! D-Bus' wire format, as far as talking to systemd needs it: little-endian, calls that take strings only.
//!
//! Source of the rules: the D-Bus specification, "Message Protocol" and "Marshaling".

/// The longest message that the specification allows.
const LONGEST: usize = 128 << 20;
const LITTLE_ENDIAN: u8 = b'l';
const VERSION: u8 = 1;

const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const SIGNATURE: u8 = 8;

/// Why bytes are no message that we understand.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum WireError {
    #[error("a D-Bus message ends too early")]
    Truncated,
    #[error("a D-Bus message says that it is {0} bytes long, more than the specification allows")]
    TooLong(usize),
    #[error("a D-Bus message holds `{0}` where something else belongs")]
    Unexpected(String),
}

/// One method call. All that we call takes strings.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) path: &'a str,
    pub(crate) interface: &'a str,
    pub(crate) member: &'a str,
    pub(crate) arguments: &'a [&'a str],
}

/// One message that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// What a call returned.
    Return { serial: u32, body: Vec<u8> },
    /// A call failed.
    Error { serial: u32, name: String, body: Vec<u8> },
    /// A signal.
    Signal { member: String, body: Vec<u8> },
    /// Somebody calls us; we serve nothing.
    Call,
}

impl Call<'_> {
    /// The message's bytes.
    pub(crate) fn encode(&self, serial: u32) -> Vec<u8> {
        let mut body = Writer::default();
        for argument in self.arguments {
            body.string(argument);
        }
        encode_message(METHOD_CALL, serial, &body.bytes, |fields| {
            fields.field(PATH, "o", |field| field.string(self.path));
            fields.field(INTERFACE, "s", |field| field.string(self.interface));
            fields.field(MEMBER, "s", |field| field.string(self.member));
            if !self.arguments.is_empty() {
                fields.field(SIGNATURE, "g", |field| field.signature(&"s".repeat(self.arguments.len())));
            }
        })
    }
}

fn encode_message(kind: u8, serial: u32, body: &[u8], write_fields: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let (mut message, mut fields) = (Writer::default(), Writer::default());
    write_fields(&mut fields);
    message.bytes.extend([LITTLE_ENDIAN, kind, 0, VERSION]);
    message.u32(u32::try_from(body.len()).expect("a call of ours is a few hundred bytes long"));
    message.u32(serial);
    // The fixed part is 16 bytes long with the length of the fields, so they are aligned within themselves.
    message.u32(fields.length());
    message.bytes.extend(fields.bytes);
    message.align(8);
    message.bytes.extend(body);
    message.bytes
}

/// Length of the message that `bytes` begin with; none as long as too few are there to tell.
pub(crate) fn message_length(bytes: &[u8]) -> Result<Option<usize>, WireError> {
    if bytes.len() < 16 {
        return Ok(None);
    }
    if bytes[0] != LITTLE_ENDIAN {
        return Err(WireError::Unexpected(format!("byte order {:#04x}", bytes[0])));
    }
    let mut reader = Reader::new(&bytes[4..16]);
    let body = reader.u32()? as usize;
    reader.u32()?;
    let fields = reader.u32()? as usize;
    let length = (16 + fields).next_multiple_of(8) + body;
    if length > LONGEST { Err(WireError::TooLong(length)) } else { Ok(Some(length)) }
}

/// Reads one whole message.
pub(crate) fn decode(bytes: &[u8]) -> Result<Message, WireError> {
    let mut header = Reader::new(bytes);
    header.at = 12;
    let end = header.u32()? as usize + 16;
    let (mut member, mut error, mut reply) = (String::new(), String::new(), 0);
    while header.at < end {
        header.align(8)?;
        let code = header.u8()?;
        let value = header.variant()?;
        match (code, value) {
            (MEMBER, Value::Text(text)) => member = text,
            (ERROR_NAME, Value::Text(text)) => error = text,
            (REPLY_SERIAL, Value::Number(serial)) => reply = u32::try_from(serial).unwrap_or_default(),
            _ => {}
        }
    }
    let body = bytes.get(end.next_multiple_of(8)..).ok_or(WireError::Truncated)?.to_vec();
    match bytes[1] {
        METHOD_CALL => Ok(Message::Call),
        METHOD_RETURN => Ok(Message::Return { serial: reply, body }),
        ERROR => Ok(Message::Error { serial: reply, name: error, body }),
        SIGNAL => Ok(Message::Signal { member, body }),
        other => Err(WireError::Unexpected(format!("message type {other}"))),
    }
}

/// The value of a variant, of the types that we ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Flag(bool),
    Number(u64),
    Text(String),
    Texts(Vec<String>),
}

#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn length(&self) -> u32 {
        u32::try_from(self.bytes.len()).expect("a call of ours is a few hundred bytes long")
    }

    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    fn u32(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend(value.to_le_bytes());
    }

    fn string(&mut self, text: &str) {
        self.u32(u32::try_from(text.len()).expect("a name is shorter than 4 GiB"));
        self.bytes.extend(text.bytes());
        self.bytes.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.bytes.push(u8::try_from(text.len()).expect("a call of ours takes few arguments"));
        self.bytes.extend(text.bytes());
        self.bytes.push(0);
    }

    fn field(&mut self, code: u8, signature: &str, value: impl FnOnce(&mut Self)) {
        self.align(8);
        self.bytes.push(code);
        self.signature(signature);
        value(self);
    }
}

/// Reads values from a message's body.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let end = self.at.checked_add(count).ok_or(WireError::Truncated)?;
        let taken = self.bytes.get(self.at..end).ok_or(WireError::Truncated)?;
        self.at = end;
        Ok(taken)
    }

    fn align(&mut self, to: usize) -> Result<(), WireError> {
        self.take(self.at.next_multiple_of(to) - self.at).map(drop)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        self.align(N)?;
        self.take(N)?.try_into().map_err(|_| WireError::Truncated)
    }

    fn u8(&mut self) -> Result<u8, WireError> {
        self.fixed().map(u8::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, WireError> {
        self.fixed().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        self.fixed().map(u64::from_le_bytes)
    }

    fn text(&mut self, length: usize) -> Result<String, WireError> {
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Ok(text)
    }

    /// A string or an object path.
    pub(crate) fn string(&mut self) -> Result<String, WireError> {
        let length = self.u32()? as usize;
        self.text(length)
    }

    fn signature(&mut self) -> Result<String, WireError> {
        let length = self.u8()? as usize;
        self.text(length)
    }

    /// An array whose elements are aligned to `alignment`, each read by `element`.
    pub(crate) fn array<T>(
        &mut self,
        alignment: usize,
        mut element: impl FnMut(&mut Self) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let length = self.u32()? as usize;
        self.align(alignment)?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len()).ok_or(WireError::Truncated)?;
        let mut elements = Vec::new();
        while self.at < end {
            self.align(alignment)?;
            elements.push(element(self)?);
        }
        Ok(elements)
    }

    /// A variant of one of the types of [`Value`].
    pub(crate) fn variant(&mut self) -> Result<Value, WireError> {
        let signature = self.signature()?;
        match signature.as_str() {
            "b" => Ok(Value::Flag(self.u32()? != 0)),
            "u" => Ok(Value::Number(self.u32()?.into())),
            "t" => self.u64().map(Value::Number),
            "s" | "o" => self.string().map(Value::Text),
            "g" => self.signature().map(Value::Text),
            "as" => self.array(4, Self::string).map(Value::Texts),
            _ => Err(WireError::Unexpected(format!("a value of type {signature}"))),
        }
    }
}

#[cfg(test)]
pub(crate) fn encode_return(serial: u32, body: &[u8]) -> Vec<u8> {
    encode_message(METHOD_RETURN, 1, body, |fields| fields.field(REPLY_SERIAL, "u", |field| field.u32(serial)))
}

#[cfg(test)]
pub(crate) fn encode_signal(member: &str, body: &[u8]) -> Vec<u8> {
    encode_message(SIGNAL, 1, body, |fields| fields.field(MEMBER, "s", |field| field.string(member)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bytes that libsystemd's `busctl --json` sends for this call, written down by hand from the specification.
    #[test]
    fn a_call_is_encoded_as_the_specification_says() {
        let call = Call { path: "/a", interface: "i.f", member: "Get", arguments: &["x"] };
        let expected: &[u8] = &[
            &b"l\x01\x00\x01"[..],
            b"\x06\x00\x00\x00",
            b"\x07\x00\x00\x00",
            b"\x37\x00\x00\x00",
            b"\x01\x01o\x00\x02\x00\x00\x00/a\x00",
            b"\x00\x00\x00\x00\x00",
            b"\x02\x01s\x00\x03\x00\x00\x00i.f\x00",
            b"\x00\x00\x00\x00",
            b"\x03\x01s\x00\x03\x00\x00\x00Get\x00",
            b"\x00\x00\x00\x00",
            b"\x08\x01g\x00\x01s\x00",
            b"\x00",
            b"\x01\x00\x00\x00x\x00",
        ]
        .concat();
        assert_eq!(call.encode(7), expected);
        assert_eq!(message_length(expected), Ok(Some(expected.len())));
        assert_eq!(decode(expected), Ok(Message::Call));
    }

    #[test]
    fn a_property_is_read_whatever_its_type() {
        let mut reader = Reader::new(b"\x02as\x00\x15\x00\x00\x00\x03\x00\x00\x00A=1\x00\x08\x00\x00\x00TOKEN=xy\x00");
        let expected = Value::Texts(vec!["A=1".to_owned(), "TOKEN=xy".to_owned()]);
        assert_eq!(reader.variant(), Ok(expected));
        assert_eq!(Reader::new(b"\x01b\x00\x00\x01\x00\x00\x00").variant(), Ok(Value::Flag(true)));
        assert_eq!(
            Reader::new(b"\x01t\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00").variant(),
            Ok(Value::Number(2))
        );
        assert!(Reader::new(b"\x05a{sv}\x00").variant().is_err());
    }

    proptest! {
        #[test]
        fn what_is_encoded_has_the_length_it_says_and_keeps_its_arguments(
            arguments in prop::collection::vec("[a-zé./ ]{0,40}", 0..5),
            path in "/[a-z_0-9/]{0,60}",
            member in "[A-Za-z]{1,20}",
            serial in 1_u32..,
        ) {
            let borrowed: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let call = Call { path: &path, interface: "org.example.I", member: &member, arguments: &borrowed };
            let mut bytes = call.encode(serial);
            prop_assert_eq!(message_length(&bytes), Ok(Some(bytes.len())));
            // The same header with another type is a signal, whose member and body come back.
            bytes[1] = SIGNAL;
            let Ok(Message::Signal { member: found, body }) = decode(&bytes) else { panic!("no signal") };
            prop_assert_eq!(found, member);
            let mut reader = Reader::new(&body);
            for argument in &arguments {
                prop_assert_eq!(&reader.string().unwrap(), argument);
            }
        }

        #[test]
        fn no_bytes_upset_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = message_length(&bytes);
            if bytes.len() >= 16 {
                let _ = decode(&bytes);
            }
            let _ = Reader::new(&bytes).variant();
            let _ = Reader::new(&bytes).array(8, |reader| reader.string());
        }
    }
}
