//! Typed codes are read however a person writes them, and in no other alphabet.

use fido_relay_proto::TypedCode;
use proptest::prelude::*;

#[test]
fn every_spelling_of_a_code_is_the_same_code() {
    let code: TypedCode = "7K3D9-QX01V".parse().unwrap();
    assert_eq!((code.as_str(), code.locator()), ("7K3D9QX01V", "7K3D"));
    assert_eq!(code.to_string(), "7K3D9-QX01V");
    for spelling in [
        "7K3D9QX01V",
        "7k3d9-qx01v",
        "7k3d9 qxo1v",
        "7K3D9-QXOIV",
        "7k3d9-qxolv",
        "7K3D9-QXOlV",
        " 7K-3D-9Q X0 1V ",
    ] {
        assert_eq!(spelling.parse().as_ref(), Ok(&code), "{spelling:?}");
    }
}

#[test]
fn what_is_no_code_is_not_read_as_one() {
    for text in [
        "",
        "-",
        "7K3D9QX01",
        "7K3D9QX01VV",
        "7K3D9QX01U",
        "7K3D9QX01_",
        "7K3D9QX01\u{415}",
        "7K3D9QX01\u{a0}",
        "7K3D9QX01\n",
        "7K3D9QX01*",
    ] {
        let error = text.parse::<TypedCode>().unwrap_err();
        assert_eq!(error.to_string(), "not a valid typed code", "{text:?} is not repeated");
    }
}

proptest! {
    #[test]
    fn a_code_is_read_as_it_is_shown_and_prints_nothing(bytes: [u8; 10]) {
        let code = TypedCode::from_random(bytes);
        prop_assert_eq!(code.to_string().parse(), Ok(code.clone()));
        prop_assert_eq!(code.to_string().to_lowercase().parse(), Ok(code.clone()));
        prop_assert_eq!(code.as_str().len(), 10);
        prop_assert_eq!(format!("{code:?}"), "TypedCode(hidden)");
    }

    #[test]
    fn any_text_is_read_or_refused(text: String) {
        if let Ok(code) = text.parse::<TypedCode>() {
            prop_assert_eq!(code.as_str().parse(), Ok(code.clone()));
        }
    }
}
