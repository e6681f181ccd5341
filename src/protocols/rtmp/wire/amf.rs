//! Action Message Format: the values of commands and data messages. [`amf0`] is read and written; [`amf3`] is read where an
//! AMF0 value says that the next one is in it.
pub mod amf0;
pub mod amf3;

/// Caps on what one message may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AmfLimits {
    /// Objects and arrays inside one another.
    pub depth_max: u32,
    /// Values in all.
    pub values_max: usize,
    /// Bytes of text and names in all, references counted each time.
    pub text_bytes_max: usize,
}

impl Default for AmfLimits {
    fn default() -> Self {
        Self { depth_max: 16, values_max: 4096, text_bytes_max: 512 << 10 }
    }
}

/// Why bytes are no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmfError {
    /// They end inside a value.
    #[error("an AMF value is cut short")]
    CutShort,
    /// A type that is not used in RTMP, or none at all.
    #[error("AMF marker {0:#04x} is not supported")]
    Marker(u8),
    /// Objects inside objects beyond the cap.
    #[error("AMF values are nested too deeply")]
    TooDeep,
    /// More values or text than allowed.
    #[error("an AMF message holds too much")]
    TooMuch,
    /// A reference to something that never came.
    #[error("an AMF reference leads nowhere")]
    Reference,
}

/// Members of an object, in order.
pub type Members = Vec<(String, Amf)>;

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Amf {
    /// A number; AMF3 integers as well.
    Number(f64),
    /// True or false.
    Boolean(bool),
    /// Text. What is not UTF-8 in it has been replaced.
    String(String),
    /// An anonymous object, or one of a class, whose name is dropped.
    Object(Members),
    /// An associative array.
    Map(Members),
    /// A list.
    List(Vec<Amf>),
    /// A date, milliseconds since the Unix epoch.
    Date(f64),
    /// Bytes (AMF3 only).
    Bytes(Vec<u8>),
    /// Null.
    Null,
    /// Undefined.
    Undefined,
}

impl Amf {
    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::String(text.into())
    }

    /// An object of these members.
    pub fn object<const N: usize>(members: [(&str, Amf); N]) -> Self {
        Self::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// The text, when it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number, when it is a finite one; also of text that reads as one, which some encoders send.
    pub fn as_number(&self) -> Option<f64> {
        let number = match self {
            Self::Number(number) | Self::Date(number) => Some(*number),
            Self::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.filter(|number| number.is_finite())
    }

    /// The truth value, when it is one or a number.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Boolean(value) => Some(*value),
            Self::Number(number) => Some(*number != 0.0),
            _ => None,
        }
    }

    /// The members of an object or associative array; none of anything else.
    pub fn members(&self) -> &[(String, Amf)] {
        match self {
            Self::Object(members) | Self::Map(members) => members,
            _ => &[],
        }
    }

    /// A member of an object or associative array.
    pub fn get(&self, name: &str) -> Option<&Amf> {
        self.members().iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The items of a list, or the members' values of an associative array, which some encoders send for lists.
    pub fn items(&self) -> Vec<&Amf> {
        match self {
            Self::List(items) => items.iter().collect(),
            other => other.members().iter().map(|(_, value)| value).collect(),
        }
    }
}

/// What is left of the caps while a message is read.
#[derive(Debug)]
struct Budget {
    values: usize,
    text: usize,
}

impl Budget {
    fn new(limits: &AmfLimits) -> Self {
        Self { values: limits.values_max, text: limits.text_bytes_max }
    }

    fn value(&mut self) -> Result<(), AmfError> {
        self.values = self.values.checked_sub(1).ok_or(AmfError::TooMuch)?;
        Ok(())
    }

    fn text(&mut self, bytes: usize) -> Result<(), AmfError> {
        self.text = self.text.checked_sub(bytes).ok_or(AmfError::TooMuch)?;
        Ok(())
    }

    /// Accounts for a value that is there twice.
    fn copy(&mut self, value: &Amf) -> Result<(), AmfError> {
        self.value()?;
        match value {
            Amf::String(text) => self.text(text.len()),
            Amf::Bytes(bytes) => self.text(bytes.len()),
            Amf::List(items) => items.iter().try_for_each(|item| self.copy(item)),
            Amf::Object(members) | Amf::Map(members) => members.iter().try_for_each(|(name, value)| {
                self.text(name.len())?;
                self.copy(value)
            }),
            _ => Ok(()),
        }
    }
}

/// Takes text of so many bytes.
fn take_text(bytes: &mut &[u8], length: usize, budget: &mut Budget) -> Result<String, AmfError> {
    let (text, rest) = bytes.split_at_checked(length).ok_or(AmfError::CutShort)?;
    budget.text(length)?;
    *bytes = rest;
    Ok(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests;
