//! Strict reading of CBOR (RFC 8949): whole items, no trailing bytes, no duplicate keys, bounded
//! depth and breadth, and CTAP2's canonical form. Knows nothing of what the items mean.

use ciborium::Value;

/// Nesting of items. Attestation objects need four levels; extensions have room for more.
const DEPTH: usize = 16;
/// Entries of one map. Keeps the search for duplicate keys cheap on hostile input.
const MAP_ENTRIES: usize = 64;

/// How much of CTAP2's canonical CBOR form is demanded (WebAuthn section 2.4: decoders should
/// reject what has another form).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Nothing. For what an earlier version accepted and stored.
    Any,
    /// Definite lengths, shortest integers and lengths, no tags. For attestation objects, which
    /// clients and not authenticators encode and in whose maps clients differ in the order of
    /// keys, and for extension outputs.
    Shortest,
    /// Also the order of keys in maps. For public keys.
    Canonical,
}

/// Reads one item and advances `bytes` to its end; `None` if there is none, if it has another form,
/// or if one of its maps has a key twice.
pub(crate) fn item(bytes: &mut &[u8], form: Form) -> Option<Value> {
    if form != Form::Any {
        skip(&mut { *bytes }, form, DEPTH)?;
    }
    let value: Value = ciborium::de::from_reader_with_recursion_limit(bytes, DEPTH).ok()?;
    keys_are_unique(&value).then_some(value)
}

/// Reads `bytes` as exactly one item; `None` also if anything follows it.
pub(crate) fn only_item(mut bytes: &[u8], form: Form) -> Option<Value> {
    let value = item(&mut bytes, form)?;
    bytes.is_empty().then_some(value)
}

/// Advances `bytes` to the end of one item; `None` if it has not the form.
fn skip(bytes: &mut &[u8], form: Form, depth: usize) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    let (&[head], rest) = bytes.split_first_chunk::<1>()?;
    *bytes = rest;
    let (major, short) = (head >> 5, head & 0x1f);
    // Values 28 to 30 are not assigned, 31 is an indefinite length.
    let (argument, least) = match short {
        0..24 => (u64::from(short), 0),
        24 => (u64::from(u8::from_be_bytes(take(bytes)?)), 24),
        25 => (u64::from(u16::from_be_bytes(take(bytes)?)), 1 << 8),
        26 => (u64::from(u32::from_be_bytes(take(bytes)?)), 1 << 16),
        27 => (u64::from_be_bytes(take(bytes)?), 1 << 32),
        _ => return None,
    };
    // The argument of major type 7 is a simple value or the bits of a float.
    if major != 7 && argument < least {
        return None;
    }
    match major {
        2 | 3 => *bytes = bytes.get(usize::try_from(argument).ok()?..)?,
        4 => (0..argument).try_for_each(|_| skip(bytes, form, depth))?,
        5 => {
            let mut last: Option<&[u8]> = None;
            for _ in 0..argument {
                let before = *bytes;
                skip(bytes, form, depth)?;
                let key = &before[..before.len() - bytes.len()];
                // Canonical: by major type, then length, then bytes; a key's own head sorts so.
                let rank = |key: &[u8]| (key[0] >> 5, key.len());
                if form == Form::Canonical
                    && last.is_some_and(|last| (rank(last), last) >= (rank(key), key))
                {
                    return None;
                }
                last = Some(key);
                skip(bytes, form, depth)?;
            }
        }
        6 => return None,
        _ => {}
    }
    Some(())
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

/// The value of a text key in a map.
pub(crate) fn by_name<'a>(map: &'a [(Value, Value)], name: &str) -> Option<&'a Value> {
    map.iter().find(|(key, _)| key.as_text() == Some(name)).map(|(_, value)| value)
}

/// The value of an integer key in a map.
pub(crate) fn by_label(map: &[(Value, Value)], label: i64) -> Option<&Value> {
    map.iter().find(|(key, _)| integer(key) == Some(label)).map(|(_, value)| value)
}

/// An integer that fits in 64 bits with a sign.
pub(crate) fn integer(value: &Value) -> Option<i64> {
    i64::try_from(value.as_integer()?).ok()
}

fn keys_are_unique(value: &Value) -> bool {
    if let Some(map) = value.as_map() {
        map.len() <= MAP_ENTRIES
            && map.iter().enumerate().all(|(at, (key, value))| {
                map[..at].iter().all(|(earlier, _)| earlier != key)
                    && keys_are_unique(key)
                    && keys_are_unique(value)
            })
    } else if let Some(array) = value.as_array() {
        array.iter().all(keys_are_unique)
    } else if let Some((_, inner)) = value.as_tag() {
        keys_are_unique(inner)
    } else {
        true
    }
}
