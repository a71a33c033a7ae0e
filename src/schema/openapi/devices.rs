//! Phones: pairing, list, name, key, revocation.

use fido_relay_proto::ProblemCode::{
    Gone, Internal, OriginNotAllowed, ProofRefused, TooManyRequests, Unavailable, Unprocessable,
};
use fido_relay_proto::http::{
    DeviceList, DeviceView, OpenPairing, OpenedPairing, PairDevice, PairedDevice, RenameDevice,
    RotateDeviceKey, RotatedDeviceKey,
};
use fido_relay_proto::{DeviceId, Username};
use serde_json::{Value, json};

use super::call::OpenApiDraft;
use super::examples::{AT, DEVICE, JWS, jwk};
use crate::schema::operations::Operation;

pub(super) fn describe(draft: &mut OpenApiDraft) {
    draft
        .call(Operation::OpenPairing, "Start to pair a phone with a user")
        .says(
            "One secret in three forms, for ten minutes and one phone: a link, the same as a QR code, \
             and a short code to type. A phone that gets it becomes this user's device: authenticate the user by other means first.",
        )
        .takes::<OpenPairing>(&[("ada", json!({ "username": "ada" }))])
        .gives::<OpenedPairing>(201, "Begun", &[(
            "begun",
            json!({
                "pairing_token": "pt_…", "typed_code": "7K3D9-QXM2V",
                "uri": "fido-relay://pair?relay=https%3A%2F%2Frelay.example.com&token=pt_…",
                "qr_svg": "<svg …/>", "expires_in": 600,
            }),
        )])
        .problems(&[]);
    draft
        .call(Operation::VoidPairings, "Void a user's open pairings")
        .says(
            "Earlier links, QR codes and typed codes no longer pair a phone. The answer is the \
             same if there was none.",
        )
        .segment::<Username>("username")
        .gives_nothing(204, "Voided")
        .problems(&[]);
    pair(draft);
    draft
        .call(Operation::ListDevices, "List a user's phones")
        .says("An unknown user has no phone. `online` needs the scope `presence:read`.")
        .segment::<Username>("username")
        .gives::<DeviceList>(200, "The list", &[("one", json!({ "devices": [view()] }))])
        .problems(&[]);
    draft
        .call(Operation::RenameDevice, "Rename a phone")
        .segment::<DeviceId>("id")
        .takes::<RenameDevice>(&[("name", json!({ "name": "Ada's phone" }))])
        .gives::<DeviceView>(200, "The changed state", &[("renamed", view())])
        .problems(&[]);
    draft
        .call(Operation::RevokeDevice, "Revoke a phone")
        .says(
            "Permanent; the same answer for a device that is already revoked. Its socket closes \
               within seconds.",
        )
        .segment::<DeviceId>("id")
        .gives_nothing(204, "Revoked")
        .problems(&[]);
    draft
        .call(Operation::RotateDeviceKey, "Give a phone a new key")
        .says(
            "Both keys sign: the old one hands over, the new one proves possession. Every error is \
             the same 401. A repetition gets the same answer.",
        )
        .takes::<RotateDeviceKey>(&[(
            "rotation",
            json!({ "new_jwk": jwk(), "old_proof": JWS, "new_proof": JWS }),
        )])
        .gives::<RotatedDeviceKey>(200, "The new key is valid", &[(
            "rotated",
            json!({ "device_id": DEVICE, "jkt": "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s" }),
        )])
        .problems(&[
            ProofRefused,
            OriginNotAllowed,
            TooManyRequests,
            Internal,
            Unavailable,
        ]);
}

fn pair(draft: &mut OpenApiDraft) {
    let order = json!({
        "pairing_token": "pt_…", "jwk": jwk(), "proof": JWS, "name": "Ada's phone",
        "platform": "android",
    });
    let paired =
        json!({ "device_id": DEVICE, "socket_url": "wss://relay.example.com/v1/device/socket" });
    draft
        .call(Operation::PairDevice, "Pair a phone")
        .says(
            "Called by the phone. Every error of token, code or proof is the same 401; only a \
             correct one that was used before gets 410. 422: the user has as \
             many phones as allowed.",
        )
        .takes::<PairDevice>(&[("by_token", order)])
        .gives::<PairedDevice>(201, "Paired", &[("paired", paired)])
        .problems(&[
            ProofRefused,
            OriginNotAllowed,
            Gone,
            Unprocessable,
            TooManyRequests,
            Internal,
            Unavailable,
        ]);
}

fn view() -> Value {
    json!({
        "device_id": DEVICE, "name": "Ada's phone", "platform": "android", "paired_at": AT,
        "online": true,
    })
}
