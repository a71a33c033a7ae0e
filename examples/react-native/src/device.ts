// The device: its key, its storage, and its pairing.

import "react-native-get-random-values";
import { base64url, pairDevice, parsePairingLink } from "@fido-relay/client";
import type { DeviceSigner, DeviceStorage, PairedDevice } from "@fido-relay/client";
import { p256 } from "@noble/curves/nist.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, hexToBytes } from "@noble/hashes/utils.js";
import AsyncStorage from "@react-native-async-storage/async-storage";
import * as SecureStore from "expo-secure-store";
import { Platform } from "react-native";

/** Holds the device and unsent answers: neither is secret, and answers may be large. */
export const storage: DeviceStorage = {
  async get(name) {
    const text = await AsyncStorage.getItem(`fido-relay.${name}`);
    return text === null ? undefined : JSON.parse(text);
  },
  set: (name, value) => AsyncStorage.setItem(`fido-relay.${name}`, JSON.stringify(value)),
  delete: (name) => AsyncStorage.removeItem(`fido-relay.${name}`),
};

const KEY = "fido-relay.key";
/** Excluded from backups and other phones. */
const ONLY_HERE = { keychainAccessible: SecureStore.WHEN_UNLOCKED_THIS_DEVICE_ONLY };

/**
 * The device key, in the system's key store. A native module that signs inside the Secure Enclave or
 * StrongBox is better: pass its public key and its `sign`, which may return DER.
 */
export async function deviceSigner(): Promise<DeviceSigner> {
  const kept = await SecureStore.getItemAsync(KEY, ONLY_HERE);
  const secret = kept === null ? p256.utils.randomSecretKey() : hexToBytes(kept);
  if (kept === null) await SecureStore.setItemAsync(KEY, bytesToHex(secret), ONLY_HERE);
  const point = p256.getPublicKey(secret, false);
  return {
    jwk: { kty: "EC", crv: "P-256", x: base64url(point.slice(1, 33)), y: base64url(point.slice(33)) },
    sign: async (bytes) => p256.sign(bytes, secret),
    sha256: async (bytes) => sha256(bytes),
  };
}

/** Pairs by the link of a QR code. Show `parsePairingLink(link).relay` to the user before. */
export async function pair(link: string): Promise<PairedDevice> {
  const platform = Platform.OS === "ios" || Platform.OS === "android" ? Platform.OS : "other";
  const device = await pairDevice({ ...parsePairingLink(link), signer: await deviceSigner(), platform });
  await storage.set("device", device);
  return device;
}

/** The relay no longer knows this device: deletes key and answers. */
export async function forget(): Promise<void> {
  await storage.delete("device");
  await storage.delete("answers");
  await SecureStore.deleteItemAsync(KEY);
}
