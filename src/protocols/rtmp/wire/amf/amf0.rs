//! AMF0 (Adobe, "Action Message Format -- AMF 0").
use bytes::{Buf, BufMut, BytesMut};

use super::{Amf, AmfError, AmfLimits, Budget, Members, amf3, take_text};

const NUMBER: u8 = 0x00;
const BOOLEAN: u8 = 0x01;
const STRING: u8 = 0x02;
const OBJECT: u8 = 0x03;
const NULL: u8 = 0x05;
const UNDEFINED: u8 = 0x06;
const ECMA_ARRAY: u8 = 0x08;
const OBJECT_END: u8 = 0x09;
const STRICT_ARRAY: u8 = 0x0a;
const DATE: u8 = 0x0b;
const LONG_STRING: u8 = 0x0c;
const UNSUPPORTED: u8 = 0x0d;
const XML: u8 = 0x0f;
const TYPED_OBJECT: u8 = 0x10;
const AMF3: u8 = 0x11;

/// Most items for which room is made before they have come.
const ITEMS_AT_ONCE: usize = 64;

/// Reads values one after another, under caps that hold for all of them together.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    budget: Budget,
    depth_max: u32,
}

impl<'a> Reader<'a> {
    /// A reader of the values in `bytes`.
    pub fn new(bytes: &'a [u8], limits: &AmfLimits) -> Self {
        Self { bytes, budget: Budget::new(limits), depth_max: limits.depth_max }
    }

    /// The next value; `None` at the end.
    pub fn next_value(&mut self) -> Result<Option<Amf>, AmfError> {
        if self.bytes.is_empty() { Ok(None) } else { self.value(self.depth_max).map(Some) }
    }

    /// All values up to the end or to one that cannot be read: encoders are known whose last arguments are broken, and whose
    /// first ones say what is meant. Beyond a cap it is an error.
    pub fn rest(&mut self) -> Result<Vec<Amf>, AmfError> {
        let mut values = Vec::new();
        loop {
            match self.next_value() {
                Ok(Some(value)) => values.push(value),
                Ok(None) | Err(AmfError::CutShort | AmfError::Marker(_)) => return Ok(values),
                Err(error) => return Err(error),
            }
        }
    }

    fn value(&mut self, depth: u32) -> Result<Amf, AmfError> {
        self.budget.value()?;
        let marker = self.u8()?;
        Ok(match marker {
            NUMBER => Amf::Number(self.f64()?),
            BOOLEAN => Amf::Boolean(self.u8()? != 0),
            STRING => Amf::String(self.short_text()?),
            LONG_STRING | XML => {
                let length = self.bytes.try_get_u32().map_err(|_| AmfError::CutShort)? as usize;
                Amf::String(take_text(&mut self.bytes, length, &mut self.budget)?)
            }
            NULL | UNSUPPORTED => Amf::Null,
            UNDEFINED => Amf::Undefined,
            DATE => self.date()?,
            OBJECT => Amf::Object(self.object(depth)?),
            TYPED_OBJECT => {
                self.short_text()?;
                Amf::Object(self.object(depth)?)
            }
            ECMA_ARRAY => {
                // The count is a hint that encoders get wrong; the end marker counts.
                self.bytes.try_get_u32().map_err(|_| AmfError::CutShort)?;
                Amf::Map(self.object(depth)?)
            }
            STRICT_ARRAY => Amf::List(self.list(depth)?),
            AMF3 => amf3::value(&mut self.bytes, &mut self.budget, depth)?,
            other => return Err(AmfError::Marker(other)),
        })
    }

    fn object(&mut self, depth: u32) -> Result<Members, AmfError> {
        let depth = depth.checked_sub(1).ok_or(AmfError::TooDeep)?;
        let mut members = Members::new();
        // Some encoders leave the end marker of the last value out.
        while !self.bytes.is_empty() {
            let name = self.short_text()?;
            if name.is_empty() && self.bytes.first() == Some(&OBJECT_END) {
                self.bytes.advance(1);
                break;
            }
            members.push((name, self.value(depth)?));
        }
        Ok(members)
    }

    fn list(&mut self, depth: u32) -> Result<Vec<Amf>, AmfError> {
        let depth = depth.checked_sub(1).ok_or(AmfError::TooDeep)?;
        let count = self.bytes.try_get_u32().map_err(|_| AmfError::CutShort)? as usize;
        if count > self.budget.values {
            return Err(AmfError::TooMuch);
        }
        let mut items = Vec::with_capacity(count.min(ITEMS_AT_ONCE));
        for _ in 0..count {
            items.push(self.value(depth)?);
        }
        Ok(items)
    }

    fn date(&mut self) -> Result<Amf, AmfError> {
        let millis = self.f64()?;
        self.bytes.try_get_i16().map_err(|_| AmfError::CutShort)?;
        Ok(Amf::Date(millis))
    }

    fn short_text(&mut self) -> Result<String, AmfError> {
        let length = self.bytes.try_get_u16().map_err(|_| AmfError::CutShort)?;
        take_text(&mut self.bytes, usize::from(length), &mut self.budget)
    }

    fn u8(&mut self) -> Result<u8, AmfError> {
        self.bytes.try_get_u8().map_err(|_| AmfError::CutShort)
    }

    fn f64(&mut self) -> Result<f64, AmfError> {
        self.bytes.try_get_f64().map_err(|_| AmfError::CutShort)
    }
}

/// Appends a value. Names above 65535 bytes are cut; bytes, which AMF0 does not know, become null.
pub fn write(value: &Amf, to: &mut BytesMut) {
    match value {
        Amf::Number(number) => {
            to.put_u8(NUMBER);
            to.put_f64(*number);
        }
        Amf::Boolean(value) => to.put_slice(&[BOOLEAN, u8::from(*value)]),
        Amf::String(text) => write_text(text, to),
        Amf::Object(members) => {
            to.put_u8(OBJECT);
            write_members(members, to);
        }
        Amf::Map(members) => {
            to.put_u8(ECMA_ARRAY);
            to.put_u32(u32::try_from(members.len()).unwrap_or(u32::MAX));
            write_members(members, to);
        }
        Amf::List(items) => {
            to.put_u8(STRICT_ARRAY);
            to.put_u32(u32::try_from(items.len()).unwrap_or(u32::MAX));
            items.iter().for_each(|item| write(item, to));
        }
        Amf::Date(millis) => {
            to.put_u8(DATE);
            to.put_f64(*millis);
            to.put_i16(0);
        }
        Amf::Null | Amf::Bytes(_) => to.put_u8(NULL),
        Amf::Undefined => to.put_u8(UNDEFINED),
    }
}

fn write_text(text: &str, to: &mut BytesMut) {
    match u16::try_from(text.len()) {
        Ok(length) => {
            to.put_u8(STRING);
            to.put_u16(length);
        }
        Err(_) => {
            to.put_u8(LONG_STRING);
            to.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
        }
    }
    to.put_slice(text.as_bytes());
}

fn write_members(members: &[(String, Amf)], to: &mut BytesMut) {
    for (name, value) in members {
        let length = u16::try_from(name.len()).unwrap_or(u16::MAX);
        to.put_u16(length);
        to.put_slice(name.as_bytes().get(..usize::from(length)).unwrap_or_default());
        write(value, to);
    }
    to.put_slice(&[0, 0, OBJECT_END]);
}
