//! Whole numbers as JSON has them: `30.0` is the integer 30 (JSON Schema 2020-12, section 6.1.1),
//! and some languages write it so.

use std::fmt;

use serde::de::{Deserializer, Error, Unexpected, Visitor};

/// The first double that is no `u64`.
const BEYOND: f64 = 18_446_744_073_709_551_616.0;

/// The bounds are for the message alone: a number out of bounds is the caller's to refuse, as a
/// value that does not fit and not as one that is malformed.
struct Whole<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Visitor<'_> for Whole<MIN, MAX> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {MIN} to {MAX}")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "what is in bounds and whole loses nothing"
    )]
    fn visit_f64<E: Error>(self, number: f64) -> Result<u64, E> {
        if (0.0..BEYOND).contains(&number) && number.fract() == 0.0 {
            Ok(number as u64)
        } else {
            Err(E::invalid_value(Unexpected::Float(number), &self))
        }
    }
}

/// Reads a whole number.
pub(crate) fn whole<'de, const MIN: u64, const MAX: u64, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<u64, D::Error> {
    // What serde has buffered gives a fraction to nothing that asks for an integer.
    deserializer.deserialize_any(Whole::<MIN, MAX>)
}

/// Reads a whole number that its type has room for.
pub(crate) fn any<'de, T: TryFrom<u64>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let number = whole::<0, { u64::MAX }, _>(deserializer)?;
    T::try_from(number).map_err(|_| D::Error::custom("too large"))
}

/// Reads a whole number or `null`.
pub(crate) fn optional<'de, const MIN: u64, const MAX: u64, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u64>, D::Error> {
    struct Maybe<const MIN: u64, const MAX: u64>;

    impl<'de, const MIN: u64, const MAX: u64> Visitor<'de> for Maybe<MIN, MAX> {
        type Value = Option<u64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            Whole::<MIN, MAX>.expecting(f)
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(
            self,
            deserializer: D,
        ) -> Result<Self::Value, D::Error> {
            whole::<MIN, MAX, _>(deserializer).map(Some)
        }
    }

    deserializer.deserialize_option(Maybe::<MIN, MAX>)
}

#[cfg(test)]
mod tests {
    use crate::DeviceFrame;
    use crate::device::{AuthClaims, KeyClaims, PairingClaims};
    use crate::http::OpenCeremony;

    #[test]
    fn whole_numbers_are_read_however_json_spells_them_and_nothing_else_is() {
        let read = |number: &str| {
            let text =
                format!(r#"{{"type":"authentication","username":"ada","timeout_s":{number}}}"#);
            serde_json::from_str::<OpenCeremony>(&text).map(|order| order.timeout_s)
        };
        for spelling in ["30", "30.0", "3e1"] {
            assert_eq!(read(spelling).unwrap(), Some(30), "{spelling}");
        }
        assert_eq!(read("1e17").unwrap(), Some(100_000_000_000_000_000));
        assert_eq!(read("null").unwrap(), None);
        for other in ["30.5", "-1", "-1.0", "1e300", "\"30\"", "true", "[30]"] {
            assert!(read(other).is_err(), "{other}");
        }
    }

    #[test]
    fn card_errors_and_times_of_proofs_are_whole_numbers_too() {
        let card = |code: &str| {
            DeviceFrame::decode(&format!(
                r#"{{"type":"card","ceremony_id":"cer_AAAAAAAAAAAAAAAAAAAAAA","event":"error","code":{code}}}"#
            ))
        };
        for code in ["607", "607.0", "6.07e2", "\"pin_not_set\""] {
            let read = card(code).unwrap();
            assert_eq!(read.encode().contains("607"), code.starts_with('6'), "{code}");
        }
        for code in ["607.5", "599.0", "618.0", "-607.0", "\"607\"", "true", "[607]", "66143"] {
            assert!(card(code).is_err(), "{code}");
        }
        let claims = |iat: &str| {
            let text = format!(
                r#"{{"aud":"a","nonce":"n","device_id":"dev_AAAAAAAAAAAAAAAAAAAAAA","token_hash":"h",
                    "jkt":"j","old_jkt":"o","new_jkt":"n","iat":{iat}}}"#
            );
            let auth = serde_json::from_str::<AuthClaims>(&text).map(|claims| claims.iat);
            let pairing = serde_json::from_str::<PairingClaims>(&text).map(|claims| claims.iat);
            let key = serde_json::from_str::<KeyClaims>(&text).map(|claims| claims.iat);
            [auth.ok(), pairing.ok(), key.ok()]
        };
        assert_eq!(claims("1.0"), [Some(1); 3]);
        assert_eq!(claims("1.8e9"), [Some(1_800_000_000); 3]);
        assert_eq!(claims("1.5"), [None; 3]);
        assert_eq!(claims("-1.0"), [None; 3]);
    }
}
