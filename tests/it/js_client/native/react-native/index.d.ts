// What examples/react-native uses of React Native's declarations, spelt as those of 0.88 are, which
// come with 34 MB.
import type { ComponentType, PropsWithChildren } from "react";

interface TextInputProps {
  value: string;
  onChangeText: (text: string) => void;
  placeholder?: string;
  autoCapitalize?: "none";
  keyboardType?: "number-pad";
  maxLength?: number;
  contextMenuHidden?: boolean;
  secureTextEntry?: boolean;
}

export const Button: ComponentType<{ title: string; onPress?: () => void; disabled?: boolean }>;
export const Text: ComponentType<PropsWithChildren<{ accessibilityLiveRegion?: "none" | "polite" | "assertive" }>>;
export const TextInput: ComponentType<TextInputProps>;
export const View: ComponentType<PropsWithChildren>;
export const NativeModules: Record<string, unknown>;
export const Platform: { OS: "ios" | "android" | "macos" | "windows" | "web" };
export const AppState: {
  currentState: "active" | "background" | "inactive" | "unknown" | "extension";
  addEventListener(
    type: "change",
    listener: (state: "active" | "background" | "inactive" | "unknown" | "extension") => void,
  ): { remove(): void };
};

// Globals: no types of browsers or of Node are there.
declare global {
  interface AbortSignal {
    readonly aborted: boolean;
  }
  class AbortController {
    readonly signal: AbortSignal;
    abort(): void;
  }
  interface Response {
    readonly status: number;
  }
  function fetch(input: string, init?: object): Promise<Response>;
  function setTimeout(handler: () => void, timeout: number): number;
  function clearTimeout(handle: number | undefined): void;
}
