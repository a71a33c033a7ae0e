//! The shape of a JSON text, bounded before anything parses it.
//!
//! A short text can be deep (`[[[[…`) or wide (thousands of keys), and both are expensive to parse.
//! [`check`] reads the bytes once, without recursion and without allocating. It does not validate
//! JSON: that is the parser's task, and for invalid JSON the counts only bound the parser's work.

/// Which bound a text breaks. It never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// More arrays and objects within one another than allowed.
    #[error("nested too deeply")]
    TooDeep,
    /// More object keys than allowed, over the whole text.
    #[error("too many keys")]
    TooManyKeys,
}

/// Checks that a JSON text has at most `max_depth` nested arrays and objects (`{}` is 1, a bare number
/// 0) and at most `max_keys` object keys in total.
///
/// # Errors
/// [`ShapeError`], naming the first bound that the text breaks.
pub fn check(text: &[u8], max_depth: usize, max_keys: usize) -> Result<(), ShapeError> {
    let (mut depth, mut keys) = (0_usize, 0_usize);
    let (mut in_string, mut escaped) = (false, false);
    for &byte in text {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > max_depth {
                    return Err(ShapeError::TooDeep);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            // Outside of strings a colon stands behind a key and nowhere else.
            b':' => {
                keys += 1;
                if keys > max_keys {
                    return Err(ShapeError::TooManyKeys);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    fn depth(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
            Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        }
    }

    fn keys(value: &Value) -> usize {
        match value {
            Value::Array(items) => items.iter().map(keys).sum(),
            Value::Object(map) => map.len() + map.values().map(keys).sum::<usize>(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        }
    }

    /// Strings full of what the check must not mistake for structure.
    fn text() -> impl Strategy<Value = String> {
        vec(prop::sample::select(vec!["{", "[", "]", "}", ":", "\"", "\\", "\u{1F511}", "a"]), 0..8)
            .prop_map(|parts| parts.concat())
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::from),
            text().prop_map(Value::String),
        ];
        leaf.prop_recursive(6, 64, 6, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..6).prop_map(Value::Array),
                vec((text(), inner), 0..6)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>())),
            ]
        })
    }

    #[test]
    fn a_text_at_the_bound_passes_and_one_past_it_does_not() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(check(nested(8).as_bytes(), 8, 64), Ok(()));
        assert_eq!(check(nested(9).as_bytes(), 8, 64), Err(ShapeError::TooDeep));
        let wide = |keys: usize| {
            let body: Vec<_> = (0..keys).map(|key| format!("\"k{key}\":0")).collect();
            format!("{{{}}}", body.join(","))
        };
        assert_eq!(check(wide(64).as_bytes(), 8, 64), Ok(()));
        assert_eq!(check(wide(65).as_bytes(), 8, 64), Err(ShapeError::TooManyKeys));
        assert_eq!(check(b"7", 0, 0), Ok(()));
    }

    #[test]
    fn siblings_do_not_add_up_to_depth() {
        assert_eq!(check(b"[[],[],[[]],{}]", 3, 0), Ok(()));
        assert_eq!(check(b"[[],[],[[]],{}]", 2, 0), Err(ShapeError::TooDeep));
    }

    #[test]
    fn structure_within_strings_does_not_count() {
        assert_eq!(check(br#"["{[:\"{[:\\",":"]"#, 1, 0), Ok(()));
        assert_eq!(check(br#"["\\",[0]]"#, 1, 0), Err(ShapeError::TooDeep));
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_parser_on_any_json(value in json(), pretty: bool) {
            let text = if pretty {
                serde_json::to_vec_pretty(&value)
            } else {
                serde_json::to_vec(&value)
            }
            .unwrap();
            let (depth, keys) = (depth(&value), keys(&value));
            prop_assert_eq!(check(&text, depth, keys), Ok(()));
            if depth > 0 {
                prop_assert_eq!(check(&text, depth - 1, keys), Err(ShapeError::TooDeep));
            }
            if keys > 0 {
                prop_assert_eq!(check(&text, depth, keys - 1), Err(ShapeError::TooManyKeys));
            }
        }

        #[test]
        fn what_it_lets_through_keeps_the_bounds_whatever_the_bytes(
            bytes in vec(prop::sample::select(br#"{}[]:,"\ 01eu"#.to_vec()), 0..64)
        ) {
            if check(&bytes, 3, 4).is_ok()
                && let Ok(value) = serde_json::from_slice::<Value>(&bytes)
            {
                prop_assert!(depth(&value) <= 3 && keys(&value) <= 4);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..256), depth in 0..4_usize) {
            let loose = check(&bytes, usize::MAX, usize::MAX);
            prop_assert_eq!(loose, Ok(()));
            let _ = check(&bytes, depth, depth);
        }
    }
}
