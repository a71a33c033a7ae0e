interface SecureStoreOptions {
  keychainAccessible?: number;
}
export const WHEN_UNLOCKED_THIS_DEVICE_ONLY: number;
export function getItemAsync(key: string, options?: SecureStoreOptions): Promise<string | null>;
export function setItemAsync(key: string, value: string, options?: SecureStoreOptions): Promise<void>;
export function deleteItemAsync(key: string, options?: SecureStoreOptions): Promise<void>;
