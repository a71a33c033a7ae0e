//! Strict reading of CBOR (RFC 8949): whole items, no trailing bytes, no duplicate keys, bounded
//! depth and breadth. Knows nothing of what the items mean.

use ciborium::Value;

/// Nesting of items. Attestation objects need four levels; extensions have room for more.
const DEPTH: usize = 16;
/// Entries of one map. Keeps the search for duplicate keys cheap on hostile input.
const MAP_ENTRIES: usize = 64;

/// Reads one item and moves `bytes` behind it; `None` if there is none, or if one of its maps has
/// a key twice.
pub(crate) fn item(bytes: &mut &[u8]) -> Option<Value> {
    let value: Value = ciborium::de::from_reader_with_recursion_limit(bytes, DEPTH).ok()?;
    keys_are_unique(&value).then_some(value)
}

/// Reads the one item that `bytes` are; `None` also if anything follows it.
pub(crate) fn only_item(mut bytes: &[u8]) -> Option<Value> {
    let value = item(&mut bytes)?;
    bytes.is_empty().then_some(value)
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
