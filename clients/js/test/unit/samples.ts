// Frames as they go over the wire, made by proto/tests/wire/typescript.rs: the compiler
// holds them to the types. Not to be edited.
import type { DeviceFrame, RelayFrame, WatchEvent } from "../../src/frames.js";

export const relayFrames: RelayFrame[] = [
  {"type":"hello","nonce":"bm9uY2U","auth_within_s":9},
  {"type":"welcome","connection_id":"con_RERERERERERERERERERERA","heartbeat_s":25,"reauth_in_s":3540,"limits":{"frame_bytes":32768,"frames_per_s":10,"burst":30}},
  {"type":"offer","ceremony_id":"cer_EREREREREREREREREREREQ","ceremony_type":"authentication","client_name":"Example Bank","rp_id":"bank.example","username":"ada@bank.example","display_name":"Ada \"the Countess\" Lovelace","code_length":0,"expires_in":120},
  {"type":"offer","ceremony_id":"cer_EREREREREREREREREREREQ","ceremony_type":"approval","client_name":"Example Bank","rp_id":"bank.example","username":"ada@bank.example","display_name":"Ada \"the Countess\" Lovelace","message":"Zahlung bestätigen","transaction":{"title":"Payment to Ada","fields":[{"label":"Amount","value":"120.00 EUR"}]},"context":{"ip":"192.0.2.7","user_agent":"Firefox on Linux","location":"Vienna, AT"},"code_length":6,"expires_in":120},
  {"type":"challenge","ceremony_id":"cer_EREREREREREREREREREREQ","ceremony_type":"authentication","client_name":"Example Bank","rp_id":"bank.example","username":"ada@bank.example","display_name":"Ada \"the Countess\" Lovelace","code_length":0,"expires_in":120,"attempt":"att_MzMzMzMzMzMzMzMzMzMzMw","challenge":"Y2hhbGxlbmdl","origin":"https://fido.bank.example","public_key":{"rpId":"bank.example", "timeout":60000.0,"allowCredentials":[ {"id":"AQ"} ]}},
  {"type":"challenge","ceremony_id":"cer_EREREREREREREREREREREQ","ceremony_type":"approval","client_name":"Example Bank","rp_id":"bank.example","username":"ada@bank.example","display_name":"Ada \"the Countess\" Lovelace","message":"Zahlung bestätigen","transaction":{"title":"Payment to Ada","fields":[{"label":"Amount","value":"120.00 EUR"}]},"context":{"ip":"192.0.2.7","user_agent":"Firefox on Linux","location":"Vienna, AT"},"code_length":6,"expires_in":120,"attempt":"att_MzMzMzMzMzMzMzMzMzMzMw","challenge":"Y2hhbGxlbmdl","origin":"https://fido.bank.example","public_key":{"rpId":"bank.example", "timeout":60000.0,"allowCredentials":[ {"id":"AQ"} ]}},
  {"type":"accepted","ceremony_id":"cer_EREREREREREREREREREREQ","attempt":"att_MzMzMzMzMzMzMzMzMzMzMw"},
  {"type":"closed","ceremony_id":"cer_EREREREREREREREREREREQ","outcome":"succeeded"},
  {"type":"closed","ceremony_id":"cer_EREREREREREREREREREREQ","outcome":"failed","reason":"card_610"},
  {"type":"error","code":"slow_down","message":"too many frames","retryable":true},
  {"type":"error","code":"wrong_code","message":"2 tries left","retryable":false,"ceremony_id":"cer_EREREREREREREREREREREQ"},
  {"type":"reauth","nonce":"bm9uY2U","auth_within_s":60},
  {"type":"goaway","reconnect_in_ms":1234},
  {"type":"notice","notice_id":"ntc_VVVVVVVVVVVVVVVVVVVVVQ","event":"device_paired","device_id":"dev_IiIiIiIiIiIiIiIiIiIiIg","name":"Ada's new phone","platform":"android","ago_s":12},
  {"type":"notice","notice_id":"ntc_VVVVVVVVVVVVVVVVVVVVVQ","event":"device_key_rotated","device_id":"dev_IiIiIiIiIiIiIiIiIiIiIg","platform":"ios","ago_s":0},
  {"type":"notice","notice_id":"ntc_VVVVVVVVVVVVVVVVVVVVVQ","event":"card_removed","card_id":"ZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmY","ago_s":3},
  {"type":"pong","id":"probe-7"},
  {"type":"offer","ceremony_id":"cer_EREREREREREREREREREREQ","ceremony_type":"approval","client_name":"Example Bank","rp_id":"bank.example","username":"ada@bank.example","display_name":"Ada \"the Countess\" Lovelace","message":"Zahlung bestätigen","transaction":{"title":"Payment to Ada","fields":[{"label":"Amount","value":"120.00 EUR"}]},"context":{"ip":"192.0.2.7","user_agent":"Firefox on Linux","location":"Vienna, AT"},"code_length":6,"expires_in":120,"by_code":true,"rang":false,"known_browser":true,"after_not_me":false,"claim_id":"claim-3"},
  {"type":"error","code":"wrong_code","message":"wrong code, 9 tries left today","retryable":false,"claim_id":"claim-3"},
  {"type":"notice","notice_id":"ntc_VVVVVVVVVVVVVVVVVVVVVQ","event":"prompts_held","ago_s":3,"count":7,"since_s":900},
  {"type":"offer","ceremony_id":"cer_EREREREREREREREREREREQ","ceremony_type":"approval","client_name":"Example Bank","rp_id":"bank.example","username":"ada@bank.example","display_name":"Ada \"the Countess\" Lovelace","message":"Zahlung bestätigen","transaction":{"title":"Payment to Ada","fields":[{"label":"Amount","value":"120.00 EUR"}]},"context":{},"code_length":6,"expires_in":120},
  {"type":"challenge","ceremony_id":"cer_EREREREREREREREREREREQ","ceremony_type":"approval","client_name":"Example Bank","rp_id":"bank.example","username":"ada@bank.example","display_name":"Ada \"the Countess\" Lovelace","message":"Zahlung bestätigen","transaction":{"title":"Payment to Ada","fields":[{"label":"Amount","value":"120.00 EUR"}]},"context":{},"code_length":6,"expires_in":120,"attempt":"att_MzMzMzMzMzMzMzMzMzMzMw","challenge":"Y2hhbGxlbmdl","origin":"https://fido.bank.example","public_key":{"rpId":"bank.example", "timeout":60000.0,"allowCredentials":[ {"id":"AQ"} ]}},
];

export const deviceFrames: DeviceFrame[] = [
  {"type":"auth","proof":"e30.e30.c2ln"},
  {"type":"ack","ceremony_id":"cer_EREREREREREREREREREREQ","of":"offer"},
  {"type":"ack","ceremony_id":"cer_EREREREREREREREREREREQ","of":"challenge"},
  {"type":"ack","ceremony_id":"cer_EREREREREREREREREREREQ","of":"closed"},
  {"type":"claim","ceremony_id":"cer_EREREREREREREREREREREQ","code":"402917"},
  {"type":"card","ceremony_id":"cer_EREREREREREREREREREREQ","event":"present"},
  {"type":"card","ceremony_id":"cer_EREREREREREREREREREREQ","event":"error","code":608},
  {"type":"answer","ceremony_id":"cer_EREREREREREREREREREREQ","attempt":"att_MzMzMzMzMzMzMzMzMzMzMw","credential":{ "rawId":"AQ",  "id" : "\u0041Q", "n":1.50, "big":12345678901234567890123, "response":{ } }},
  {"type":"decline","ceremony_id":"cer_EREREREREREREREREREREQ","reason":"declined"},
  {"type":"decline","ceremony_id":"cer_EREREREREREREREREREREQ","reason":"not_me"},
  {"type":"ping","id":"probe-7"},
  {"type":"claim","code":"402 917","claim_id":"claim-3"},
  {"type":"decline","reason":"not_me"},
];

export const watchEvents: WatchEvent[] = [
  {"seq":1,"step":"opened","at":"2026-01-31T12:00:00.042Z","status":"pending","phase":"offered"},
  {"seq":1,"step":"closed","at":"2026-01-31T12:00:00.042Z","status":"succeeded","phase":"closed","reason":"not_me"},
];
