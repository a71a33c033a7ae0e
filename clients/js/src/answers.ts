// Card answers, kept from the signature to the end of the ceremony (docs/protocol.md, section 10), in
// memory and in the app's storage, so that an app that is killed in between sends them again.

import type { DeviceStorage } from "./storage.js";

export interface KeptAnswer {
  attempt: string;
  /** The frame as it is sent, byte for byte. */
  frame: string;
}

/** The storage key. Answers of another device are ignored. */
const NAME = "answers";
interface Stored {
  device_id: string;
  answers: Record<string, KeptAnswer>;
}

/** Answers by ceremony. */
export class Answers {
  readonly #kept = new Map<string, KeptAnswer>();
  readonly #storage: DeviceStorage | undefined;
  readonly #deviceId: string;
  readonly #failed: (error: unknown) => void;
  #written: Promise<void> = Promise.resolve();
  /** The content of the next write, if one waits. */
  #next: Stored | undefined;

  /** `failed` is called for each failure of the storage. */
  constructor(storage?: DeviceStorage, deviceId = "", failed: (error: unknown) => void = () => {}) {
    this.#storage = storage;
    this.#deviceId = deviceId;
    this.#failed = failed;
  }

  /** Loads the answers of an earlier run of the app. Never rejects. */
  async load(): Promise<void> {
    try {
      const stored = (await this.#storage?.get(NAME)) as Stored | null | undefined;
      if (stored?.device_id !== this.#deviceId) return;
      for (const [id, answer] of Object.entries(stored.answers)) this.#kept.set(id, answer);
    } catch (error) {
      this.#failed(error);
    }
  }

  get(ceremonyId: string): KeptAnswer | undefined {
    return this.#kept.get(ceremonyId);
  }

  has(ceremonyId: string): boolean {
    return this.#kept.has(ceremonyId);
  }

  entries(): [string, KeptAnswer][] {
    return [...this.#kept];
  }

  ceremonies(): string[] {
    return [...this.#kept.keys()];
  }

  set(ceremonyId: string, answer: KeptAnswer): void {
    this.#kept.set(ceremonyId, answer);
    this.#write();
  }

  delete(ceremonyId: string): void {
    if (this.#kept.delete(ceremonyId)) this.#write();
  }

  /** Deletes all: in memory only, or in the storage as well. */
  clear(stored: boolean): void {
    this.#kept.clear();
    if (stored) this.#write();
  }

  /** One write at a time; of waiting writes only the last is made. */
  #write(): void {
    const storage = this.#storage;
    if (!storage) return;
    const waits = this.#next !== undefined;
    this.#next = { device_id: this.#deviceId, answers: Object.fromEntries(this.#kept) };
    if (waits) return;
    const write = () => {
      const next = this.#next;
      this.#next = undefined;
      const empty = !next || Object.keys(next.answers).length === 0;
      return empty ? storage.delete(NAME) : storage.set(NAME, next);
    };
    this.#written = this.#written.then(write).catch(this.#failed);
  }
}
