// The public API of the package; `@fido-relay/client/node` adds Node's own `dial`.

export { standardBase64 } from "./card.js";
export { base64url, generateDeviceKey, webCryptoSigner, type DeviceKeyPair, type DeviceSigner, type P256Jwk } from "./device_key.js";
export { DeviceSocket, type DeviceEvent, type DeviceSocketOptions } from "./device_socket.js";
export { dialWebSocket, type Dial, type Line, type LineListener } from "./dial.js";
export type * from "./frames.js";
export { KeyRotationError, rotateDeviceKey, type KeyRotationOrder } from "./key_rotation.js";
export { pairDevice, parsePairingLink, PairingError, type PairedDevice, type PairingOrder } from "./pairing.js";
export type { Preview, PromptEvent, TakenDown } from "./prompts.js";
export { DevicePull, PullError, type DevicePullOptions, type PullEvent } from "./pull.js";
export { handlePush, wakeOf, webPushTarget, type PushEventLike, type PushOrder, type PushSubscriptionLike, type PushTarget, type Wake } from "./push.js";
export type { SocketEnd, StopReason } from "./reconnect.js";
export { indexedDbStorage, storedDevice, storedSigner, type DeviceStorage } from "./storage.js";
export { watchCeremony, type Watch } from "./watch.js";
export { WatchError, type WatchOptions, type WatchState, type WatchTrouble } from "./watch_options.js";
