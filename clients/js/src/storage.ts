// What an app keeps across restarts, in a place that it supplies: its key, its device, and answers
// that the relay may not have.

import { generateDeviceKey, webCryptoSigner, type DeviceKeyPair, type DeviceSigner } from "./device_key.js";
import type { PairedDevice } from "./pairing.js";

/**
 * A key-value store supplied by the app; it may also hold the app's own keys. `device` and `answers`
 * are plain JSON; `key` is a `CryptoKeyPair`, which IndexedDB can store. With a store of strings the
 * app supplies its own `signer`.
 */
export interface DeviceStorage {
  /** `undefined` or `null` for a key that was never set. */
  get(name: string): Promise<unknown>;
  set(name: string, value: unknown): Promise<void>;
  delete(name: string): Promise<void>;
}

/** IndexedDB of the browser. */
export function indexedDbStorage(database = "fido-relay"): DeviceStorage {
  const run = async (mode: IDBTransactionMode, use: (kept: IDBObjectStore) => IDBRequest): Promise<unknown> => {
    const opening = indexedDB.open(database, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("kept");
    const opened = await new Promise<IDBDatabase>((resolve, reject) => {
      opening.onsuccess = () => resolve(opening.result);
      opening.onerror = () => reject(opening.error);
    });
    try {
      return await new Promise<unknown>((resolve, reject) => {
        // "strict": a write that resolved survives a killed tab.
        const transaction = opened.transaction("kept", mode, { durability: "strict" });
        const request = use(transaction.objectStore("kept"));
        transaction.oncomplete = () => resolve(request.result);
        transaction.onabort = () => reject(transaction.error);
      });
    } finally {
      opened.close();
    }
  };
  return {
    get: (name) => run("readonly", (kept) => kept.get(name)),
    set: async (name, value) => void (await run("readwrite", (kept) => kept.put(value, name))),
    delete: async (name) => void (await run("readwrite", (kept) => kept.delete(name))),
  };
}

/** A signer with the stored key of this name, or with a new key that is then stored. */
export async function storedSigner(storage: DeviceStorage, name = "key"): Promise<DeviceSigner> {
  const kept = (await storage.get(name)) as DeviceKeyPair | null | undefined;
  if (kept) return webCryptoSigner(kept);
  const made = await generateDeviceKey();
  await storage.set(name, made);
  return webCryptoSigner(made);
}

/** The stored `device`, if it was paired. */
export async function storedDevice(storage: DeviceStorage): Promise<PairedDevice | undefined> {
  return ((await storage.get("device")) as PairedDevice | null | undefined) ?? undefined;
}
