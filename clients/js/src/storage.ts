// What an app keeps beyond its own end: its key, its device, and answers that the relay may not have.
// The app says where.

import { generateDeviceKey, webCryptoSigner, type DeviceKeyPair, type DeviceSigner } from "./device_key.js";
import type { PairedDevice } from "./pairing.js";

/**
 * A place of the app's for values under names of the client's and its own. `device` and `answers`
 * are plain JSON; `key` is a `CryptoKeyPair`, which IndexedDB takes and a store of texts does not:
 * there the app gives a `signer` of its own.
 */
export interface DeviceStorage {
  /** `undefined` or `null` for what was never set. */
  get(name: string): Promise<unknown>;
  set(name: string, value: unknown): Promise<void>;
  delete(name: string): Promise<void>;
}

/** A browser's own database. */
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
        // "strict": a tab that is killed has written what it said it had.
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

/** A signer over the key that is kept under this name; without one, over a new key that is kept. */
export async function storedSigner(storage: DeviceStorage, name = "key"): Promise<DeviceSigner> {
  const kept = (await storage.get(name)) as DeviceKeyPair | null | undefined;
  if (kept) return webCryptoSigner(kept);
  const made = await generateDeviceKey();
  await storage.set(name, made);
  return webCryptoSigner(made);
}

/** The device that the app keeps under `device`, if it was paired. */
export async function storedDevice(storage: DeviceStorage): Promise<PairedDevice | undefined> {
  return ((await storage.get("device")) as PairedDevice | null | undefined) ?? undefined;
}
