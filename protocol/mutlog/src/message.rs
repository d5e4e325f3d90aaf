//! The macro behind [`crate::schema`]: from one description of a message it makes the type that owns its values and encodes them, and the type that borrows
//! them from the log.

use std::marker::PhantomData;

use crate::wire::{self, Value, WireError};

/// What a repeated field's values are read as.
pub trait Item<'a>: Sized {
    /// Calls `each` for every value that one occurrence of the field holds.
    ///
    /// # Errors
    /// The value is not what it should be.
    fn read(value: Value<'a>, each: &mut dyn FnMut(Self)) -> Result<(), WireError>;
}

impl<'a> Item<'a> for &'a [u8] {
    fn read(value: Value<'a>, each: &mut dyn FnMut(Self)) -> Result<(), WireError> {
        if let Value::Bytes(bytes) = value {
            each(bytes);
        }
        Ok(())
    }
}

impl<'a> Item<'a> for i64 {
    fn read(value: Value<'a>, each: &mut dyn FnMut(Self)) -> Result<(), WireError> {
        match value {
            Value::Varint(number) => each(number as i64),
            Value::Bytes(mut packed) => {
                while !packed.is_empty() {
                    each(wire::varint(&mut packed)? as i64);
                }
            }
            Value::Other => {}
        }
        Ok(())
    }
}

/// The values of a repeated field, read from the message when they are asked for.
pub struct Repeated<'a, T> {
    /// From the first occurrence to the end of the message.
    bytes: &'a [u8],
    number: u32,
    /// Occurrences.
    count: u32,
    item: PhantomData<T>,
}

impl<T> Default for Repeated<'_, T> {
    fn default() -> Self {
        Repeated { bytes: &[], number: 0, count: 0, item: PhantomData }
    }
}

impl<T> Clone for Repeated<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Repeated<'_, T> {}

impl<'a, T: Item<'a>> Repeated<'a, T> {
    /// Whether the field does not occur.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All values, in order. They were checked when the message was decoded, so nothing can be wrong with them now.
    pub fn iter(&self) -> impl Iterator<Item = T> + use<'a, T> {
        let mut bytes = self.bytes;
        let number = self.number;
        let mut left = self.count;
        let mut waiting = std::collections::VecDeque::new();
        std::iter::from_fn(move || {
            loop {
                if let Some(item) = waiting.pop_front() {
                    return Some(item);
                }
                if left == 0 {
                    return None;
                }
                let field = wire::field(&mut bytes).ok().flatten()?;
                if field.number == number && field.value != Value::Other {
                    left -= 1;
                    let mut first = None;
                    T::read(field.value, &mut |item| match &first {
                        None => first = Some(item),
                        Some(_) => waiting.push_back(item),
                    })
                    .ok()?;
                    if first.is_some() {
                        return first;
                    }
                }
            }
        })
    }

    /// Notes and checks an occurrence; `at` are the bytes from its tag on.
    pub(crate) fn note(&mut self, at: &'a [u8], number: u32, value: Value<'a>) -> Result<(), WireError> {
        if value == Value::Other {
            return Ok(());
        }
        T::read(value, &mut |_| {})?;
        if self.count == 0 {
            self.bytes = at;
            self.number = number;
        }
        self.count += 1;
        Ok(())
    }
}

impl<'a, T: Item<'a> + std::fmt::Debug> std::fmt::Debug for Repeated<'a, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

macro_rules! view_type {
    ($lt:lifetime bytes) => { &$lt [u8] };
    ($lt:lifetime int64) => { i64 };
    ($lt:lifetime int32) => { i32 };
    ($lt:lifetime bool) => { bool };
    ($lt:lifetime message $kind:ident) => { Option<$kind<$lt>> };
    ($lt:lifetime messages $kind:ident) => { $crate::message::Repeated<$lt, $kind<$lt>> };
    ($lt:lifetime int64s) => { $crate::message::Repeated<$lt, i64> };
    ($lt:lifetime strings) => { $crate::message::Repeated<$lt, &$lt [u8]> };
}

macro_rules! view_store {
    ($place:expr, $field:ident, $at:ident, bytes) => {
        if let $crate::wire::Value::Bytes(bytes) = $field.value {
            $place = bytes;
        }
    };
    ($place:expr, $field:ident, $at:ident, int64) => {
        if let $crate::wire::Value::Varint(number) = $field.value {
            $place = number as i64;
        }
    };
    ($place:expr, $field:ident, $at:ident, int32) => {
        if let $crate::wire::Value::Varint(number) = $field.value {
            $place = number as i32;
        }
    };
    ($place:expr, $field:ident, $at:ident, bool) => {
        if let $crate::wire::Value::Varint(number) = $field.value {
            $place = number != 0;
        }
    };
    ($place:expr, $field:ident, $at:ident, message $kind:ident) => {
        if let $crate::wire::Value::Bytes(bytes) = $field.value {
            if $place.is_some() {
                return Err($crate::wire::WireError::Twice($field.number));
            }
            $place = Some($kind::decode(bytes)?);
        }
    };
    ($place:expr, $field:ident, $at:ident, $repeated:ident $($kind:ident)?) => {
        $place.note($at, $field.number, $field.value)?
    };
}

macro_rules! owned_type {
    (bytes) => { Vec<u8> };
    (int64) => { i64 };
    (int32) => { i32 };
    (bool) => { bool };
    (message $kind:ident) => { Option<$kind> };
    (messages $kind:ident) => { Vec<$kind> };
    (int64s) => { Vec<i64> };
    (strings) => { Vec<Vec<u8>> };
}

macro_rules! owned_from {
    ($value:expr, bytes) => {
        $value.to_vec()
    };
    ($value:expr, int64) => {
        $value
    };
    ($value:expr, int32) => {
        $value
    };
    ($value:expr, bool) => {
        $value
    };
    ($value:expr, message $kind:ident) => {
        $value.map($kind::from)
    };
    ($value:expr, messages $kind:ident) => {
        $value.iter().map($kind::from).collect()
    };
    ($value:expr, int64s) => {
        $value.iter().collect()
    };
    ($value:expr, strings) => {
        $value.iter().map(<[u8]>::to_vec).collect()
    };
}

macro_rules! owned_put {
    ($out:ident, $number:literal, $value:expr, bytes) => {
        if !$value.is_empty() {
            $crate::wire::put_bytes($out, $number, &$value);
        }
    };
    ($out:ident, $number:literal, $value:expr, int64) => {
        $crate::wire::put_number($out, $number, $value as u64)
    };
    // Negative numbers are written with their sign in all 64 bits.
    ($out:ident, $number:literal, $value:expr, int32) => {
        $crate::wire::put_number($out, $number, i64::from($value) as u64)
    };
    ($out:ident, $number:literal, $value:expr, bool) => {
        $crate::wire::put_number($out, $number, u64::from($value))
    };
    ($out:ident, $number:literal, $value:expr, message $kind:ident) => {
        if let Some(message) = &$value {
            $crate::wire::put_bytes($out, $number, &message.encode());
        }
    };
    ($out:ident, $number:literal, $value:expr, messages $kind:ident) => {
        for message in &$value {
            $crate::wire::put_bytes($out, $number, &message.encode());
        }
    };
    ($out:ident, $number:literal, $value:expr, int64s) => {
        if !$value.is_empty() {
            let mut packed = Vec::new();
            for number in &$value {
                $crate::wire::put_varint(&mut packed, *number as u64);
            }
            $crate::wire::put_bytes($out, $number, &packed);
        }
    };
    ($out:ident, $number:literal, $value:expr, strings) => {
        for bytes in &$value {
            $crate::wire::put_bytes($out, $number, bytes);
        }
    };
}

macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $number:literal $field:ident: $kind:ident $($of:ident)?,)* })*) => {
        $(
            $(#[$doc])*
            ///
            /// Owns its values; [`view`] has the same, borrowed.
            #[derive(Debug, Clone, PartialEq, Eq, Default)]
            pub struct $name {
                $($(#[$field_doc])* pub $field: owned_type!($kind $($of)?),)*
                /// Fields that this program does not know, as they stood.
                pub unknown: Vec<u8>,
            }

            impl $name {
                /// The encoded message: fields in the order of their numbers, unknown ones behind.
                pub fn encode(&self) -> Vec<u8> {
                    let mut buffer = Vec::new();
                    let out = &mut buffer;
                    $(owned_put!(out, $number, self.$field, $kind $($of)?);)*
                    out.extend_from_slice(&self.unknown);
                    buffer
                }
            }

            impl From<view::$name<'_>> for $name {
                fn from(view: view::$name<'_>) -> $name {
                    $name {
                        $($field: owned_from!(view.$field, $kind $($of)?),)*
                        unknown: view.unknown().flatten().copied().collect(),
                    }
                }
            }
        )*

        /// The messages, borrowed from the log. Decoding checks everything down to the last nested message; afterwards nothing can fail.
        pub mod view {
            $(
                $(#[$doc])*
                #[derive(Debug, Clone, Copy, Default)]
                pub struct $name<'a> {
                    /// The whole encoded message.
                    pub encoded: &'a [u8],
                    $($(#[$field_doc])* pub $field: view_type!('a $kind $($of)?),)*
                }

                impl<'a> $name<'a> {
                    /// Reads a message.
                    ///
                    /// # Errors
                    /// [`WireError`](crate::wire::WireError): the bytes are no such message.
                    pub fn decode(encoded: &'a [u8]) -> Result<Self, $crate::wire::WireError> {
                        let mut message = $name { encoded, ..Default::default() };
                        let mut rest = encoded;
                        loop {
                            let at = rest;
                            let Some(field) = $crate::wire::field(&mut rest)? else { break };
                            match field.number {
                                $($number => view_store!(message.$field, field, at, $kind $($of)?),)*
                                _ => {}
                            }
                            let _ = at;
                        }
                        Ok(message)
                    }

                    /// Fields that this program does not know, each with its tag.
                    #[allow(clippy::manual_range_patterns, reason = "the numbers come one by one from the description")]
                    pub fn unknown(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
                        let mut rest = self.encoded;
                        std::iter::from_fn(move || {
                            loop {
                                let field = $crate::wire::field(&mut rest).ok().flatten()?;
                                let known = matches!(field.number, $($number)|*) && field.value != $crate::wire::Value::Other;
                                if !known {
                                    return Some(field.raw);
                                }
                            }
                        })
                    }
                }

                impl<'a> $crate::message::Item<'a> for $name<'a> {
                    fn read(value: $crate::wire::Value<'a>, each: &mut dyn FnMut(Self)) -> Result<(), $crate::wire::WireError> {
                        if let $crate::wire::Value::Bytes(bytes) = value {
                            each($name::decode(bytes)?);
                        }
                        Ok(())
                    }
                }
            )*
        }
    };
}
