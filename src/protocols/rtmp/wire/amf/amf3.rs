//! AMF3 (Adobe, "Action Message Format -- AMF 3"), reading only: what Flash-like encoders put into commands and metadata.
use bytes::Buf;

use super::{Amf, AmfError, Budget, Members, take_text};

const UNDEFINED: u8 = 0x00;
const NULL: u8 = 0x01;
const FALSE: u8 = 0x02;
const TRUE: u8 = 0x03;
const INTEGER: u8 = 0x04;
const DOUBLE: u8 = 0x05;
const STRING: u8 = 0x06;
const XML_DOCUMENT: u8 = 0x07;
const DATE: u8 = 0x08;
const ARRAY: u8 = 0x09;
const OBJECT: u8 = 0x0a;
const XML: u8 = 0x0b;
const BYTE_ARRAY: u8 = 0x0c;

/// Reads one value; its references are to what is inside it.
pub(super) fn value(bytes: &mut &[u8], budget: &mut Budget, depth: u32) -> Result<Amf, AmfError> {
    let mut reader = Reader { bytes, budget, texts: Vec::new(), complex: Vec::new(), traits: Vec::new() };
    reader.value(depth)
}

struct Reader<'a, 'b> {
    bytes: &'a mut &'b [u8],
    budget: &'a mut Budget,
    texts: Vec<String>,
    /// Objects, arrays, dates and byte arrays; `None` while one is under way.
    complex: Vec<Option<Amf>>,
    traits: Vec<Traits>,
}

#[derive(Debug, Clone)]
struct Traits {
    names: Vec<String>,
    is_dynamic: bool,
}

impl Reader<'_, '_> {
    fn value(&mut self, depth: u32) -> Result<Amf, AmfError> {
        self.budget.value()?;
        Ok(match self.u8()? {
            UNDEFINED => Amf::Undefined,
            NULL => Amf::Null,
            FALSE => Amf::Boolean(false),
            TRUE => Amf::Boolean(true),
            INTEGER => Amf::Number(f64::from(sign_extended(self.number()?))),
            DOUBLE => Amf::Number(self.f64()?),
            STRING => Amf::String(self.text()?),
            XML_DOCUMENT | XML | BYTE_ARRAY => self.complex(Self::byte_array)?,
            DATE => self.complex(|reader, _| Ok(Amf::Date(reader.f64()?)))?,
            ARRAY => self.complex(|reader, head| reader.array(head, depth))?,
            OBJECT => self.complex(|reader, head| reader.object(head, depth))?,
            other => return Err(AmfError::Marker(other)),
        })
    }

    /// Something that may be referred to later: reads its head, then a reference or itself.
    fn complex(&mut self, read: impl FnOnce(&mut Self, u32) -> Result<Amf, AmfError>) -> Result<Amf, AmfError> {
        let head = self.number()?;
        if head & 1 == 0 {
            let known = self.complex.get(head as usize >> 1).and_then(Option::as_ref).ok_or(AmfError::Reference)?;
            self.budget.copy(known)?;
            return Ok(known.clone());
        }
        let index = self.complex.len();
        self.complex.push(None);
        let value = read(self, head >> 1)?;
        // The table keeps a copy, which counts like one.
        self.budget.copy(&value)?;
        if let Some(slot) = self.complex.get_mut(index) {
            *slot = Some(value.clone());
        }
        Ok(value)
    }

    fn byte_array(&mut self, length: u32) -> Result<Amf, AmfError> {
        let (content, rest) = self.bytes.split_at_checked(length as usize).ok_or(AmfError::CutShort)?;
        self.budget.text(content.len())?;
        *self.bytes = rest;
        Ok(Amf::Bytes(content.to_vec()))
    }

    fn array(&mut self, count: u32, depth: u32) -> Result<Amf, AmfError> {
        let depth = depth.checked_sub(1).ok_or(AmfError::TooDeep)?;
        let mut members = self.named(depth)?;
        if count as usize > self.budget.values {
            return Err(AmfError::TooMuch);
        }
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(self.value(depth)?);
        }
        if members.is_empty() {
            return Ok(Amf::List(items));
        }
        members.extend(items.into_iter().enumerate().map(|(index, item)| (index.to_string(), item)));
        Ok(Amf::Map(members))
    }

    fn object(&mut self, head: u32, depth: u32) -> Result<Amf, AmfError> {
        let depth = depth.checked_sub(1).ok_or(AmfError::TooDeep)?;
        let traits = self.traits(head)?;
        let mut members = Members::new();
        for name in traits.names {
            members.push((name, self.value(depth)?));
        }
        if traits.is_dynamic {
            members.extend(self.named(depth)?);
        }
        Ok(Amf::Object(members))
    }

    fn traits(&mut self, head: u32) -> Result<Traits, AmfError> {
        if head & 1 == 0 {
            let known = self.traits.get(head as usize >> 1).ok_or(AmfError::Reference)?;
            known.names.iter().try_for_each(|name| self.budget.text(name.len()))?;
            return Ok(known.clone());
        }
        // A class that writes itself in a form of its own.
        if head & 2 != 0 {
            return Err(AmfError::Marker(OBJECT));
        }
        let (is_dynamic, count) = (head & 4 != 0, head as usize >> 3);
        if count > self.budget.values {
            return Err(AmfError::TooMuch);
        }
        self.text()?;
        let mut names = Vec::new();
        for _ in 0..count {
            self.budget.value()?;
            names.push(self.text()?);
        }
        let traits = Traits { names, is_dynamic };
        self.traits.push(traits.clone());
        Ok(traits)
    }

    /// Named values up to an empty name.
    fn named(&mut self, depth: u32) -> Result<Members, AmfError> {
        let mut members = Members::new();
        loop {
            let name = self.text()?;
            if name.is_empty() {
                return Ok(members);
            }
            members.push((name, self.value(depth)?));
        }
    }

    fn text(&mut self) -> Result<String, AmfError> {
        let head = self.number()?;
        if head & 1 == 0 {
            let known = self.texts.get(head as usize >> 1).ok_or(AmfError::Reference)?;
            self.budget.text(known.len())?;
            return Ok(known.clone());
        }
        let text = take_text(self.bytes, head as usize >> 1, self.budget)?;
        if !text.is_empty() {
            self.budget.value()?;
            self.budget.text(text.len())?;
            self.texts.push(text.clone());
        }
        Ok(text)
    }

    /// A number of up to 29 bits.
    fn number(&mut self) -> Result<u32, AmfError> {
        let mut number = 0;
        for _ in 0..3 {
            let byte = self.u8()?;
            number = number << 7 | u32::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Ok(number << 8 | u32::from(self.u8()?))
    }

    fn u8(&mut self) -> Result<u8, AmfError> {
        self.bytes.try_get_u8().map_err(|_| AmfError::CutShort)
    }

    fn f64(&mut self) -> Result<f64, AmfError> {
        self.bytes.try_get_f64().map_err(|_| AmfError::CutShort)
    }
}

fn sign_extended(number: u32) -> i32 {
    (number << 3).cast_signed() >> 3
}
