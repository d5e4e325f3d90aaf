//! Protobuf's encoding: tags, varints, lengths.

/// Why bytes are not a protobuf message of the expected kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end within a field.
    #[error("the message ends within a field")]
    Truncated,
    /// A number has more than ten bytes, or a field number is zero or too large.
    #[error("a number in the message is too large")]
    Number,
    /// A wire type that does not exist, or an end of a group without its start.
    #[error("the message has a field of an unknown form")]
    Form,
    /// A message that may be there once is there twice. The format would merge them; no writer of mutations does this, damage does.
    #[error("field {0} is there twice")]
    Twice(u32),
    /// Groups are nested too deep.
    #[error("groups are nested too deep")]
    Deep,
}

/// The value of a field as it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
    /// Wire types 1, 3 and 5: no field of ours has them; they are kept as they are.
    Other,
}

/// A field: its number, its value, and all its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Field number.
    pub number: u32,
    /// Value.
    pub value: Value<'a>,
    /// Tag and value as they stand.
    pub raw: &'a [u8],
}

/// Reads a varint from the front of `bytes`.
///
/// # Errors
/// [`WireError::Truncated`], [`WireError::Number`].
#[inline]
pub fn varint<'a>(bytes: &mut &'a [u8]) -> Result<u64, WireError> {
    if let Some((&first, rest)) = bytes.split_first()
        && first < 0x80
    {
        *bytes = rest;
        return Ok(u64::from(first));
    }
    let mut value = 0;
    let mut rest: &'a [u8] = bytes;
    for shift in (0..70).step_by(7) {
        let (&byte, tail) = rest.split_first().ok_or(WireError::Truncated)?;
        rest = tail;
        if shift == 63 && byte > 1 {
            return Err(WireError::Number);
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            *bytes = rest;
            return Ok(value);
        }
    }
    Err(WireError::Number)
}

/// Takes `len` bytes from the front.
#[inline]
fn split<'a>(bytes: &mut &'a [u8], len: u64) -> Result<&'a [u8], WireError> {
    let len = usize::try_from(len).map_err(|_| WireError::Truncated)?;
    let (taken, rest) = bytes.split_at_checked(len).ok_or(WireError::Truncated)?;
    *bytes = rest;
    Ok(taken)
}

/// Reads one field from the front of `bytes`; `None` at the end.
///
/// # Errors
/// The bytes are no field.
#[inline]
pub fn field<'a>(bytes: &mut &'a [u8]) -> Result<Option<Field<'a>>, WireError> {
    let start: &'a [u8] = bytes;
    if start.is_empty() {
        return Ok(None);
    }
    let tag = varint(bytes)?;
    let number = u32::try_from(tag >> 3).ok().filter(|number| (1..1 << 29).contains(number)).ok_or(WireError::Number)?;
    let value = match tag & 7 {
        0 => Value::Varint(varint(bytes)?),
        2 => {
            let len = varint(bytes)?;
            Value::Bytes(split(bytes, len)?)
        }
        form => {
            skip(bytes, form, number, 32)?;
            Value::Other
        }
    };
    let raw = start.get(..start.len() - bytes.len()).unwrap_or(start);
    Ok(Some(Field { number, value, raw }))
}

fn skip(bytes: &mut &[u8], form: u64, number: u32, depth: u32) -> Result<(), WireError> {
    match form {
        0 => varint(bytes).map(drop),
        1 => split(bytes, 8).map(drop),
        2 => varint(bytes).and_then(|len| split(bytes, len)).map(drop),
        5 => split(bytes, 4).map(drop),
        3 => {
            let depth = depth.checked_sub(1).ok_or(WireError::Deep)?;
            loop {
                let tag = varint(bytes)?;
                let inner = u32::try_from(tag >> 3).map_err(|_| WireError::Number)?;
                if tag & 7 == 4 {
                    return if inner == number { Ok(()) } else { Err(WireError::Form) };
                }
                skip(bytes, tag & 7, inner, depth)?;
            }
        }
        _ => Err(WireError::Form),
    }
}

/// Appends a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a number field, unless it is zero.
pub fn put_number(out: &mut Vec<u8>, number: u32, value: u64) {
    if value != 0 {
        put_varint(out, u64::from(number) << 3);
        put_varint(out, value);
    }
}

/// Appends a field of bytes, also an empty one.
pub fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_have_at_most_ten_bytes() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            let mut rest = &out[..];
            assert_eq!((varint(&mut rest), rest.len()), (Ok(value), 0));
        }
        assert_eq!(varint(&mut &[0xff; 11][..]), Err(WireError::Number));
        assert_eq!(varint(&mut &[0x80; 3][..]), Err(WireError::Truncated));
    }

    #[test]
    fn groups_and_fixed_numbers_are_passed_over_whole() {
        let mut bytes = &[0x0b, 0x10, 0x05, 0x0c, 0x0d, 1, 2, 3, 4, 0x10, 0x07][..];
        assert_eq!(field(&mut bytes).unwrap().unwrap().raw, [0x0b, 0x10, 0x05, 0x0c]);
        assert_eq!(field(&mut bytes).unwrap().unwrap().raw, [0x0d, 1, 2, 3, 4]);
        assert_eq!(field(&mut bytes).unwrap().unwrap().value, Value::Varint(7));
        assert_eq!(field(&mut bytes), Ok(None));
        assert_eq!(field(&mut &[0x0b, 0x14][..]), Err(WireError::Form), "another group ends");
        assert_eq!(field(&mut &[0x0b; 100][..]), Err(WireError::Deep));
    }
}
