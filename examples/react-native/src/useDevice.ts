// The device socket while the app is on the screen. In the background there is no socket and no
// reconnection: a push notifies the user meanwhile (docs/apps.md).

import { DeviceSocket, storedDevice } from "@fido-relay/client";
import type { ChallengeFrame, DeviceEvent, OfferFrame, PairedDevice, StopReason } from "@fido-relay/client";
import NetInfo from "@react-native-community/netinfo";
import { useEffect, useReducer, useRef, useState } from "react";
import { AppState } from "react-native";
import { deviceSigner, forget, storage } from "./device";

export interface Shown {
  connected: boolean;
  /** Open prompts, shown one at a time. */
  prompts: (OfferFrame | ChallengeFrame)[];
  /** The result of the last prompt or code. */
  told?: string;
  /** Held-back prompts. */
  held?: number;
  stopped?: StopReason;
}

const NOTHING: Shown = { connected: false, prompts: [] };

function show(shown: Shown, event: DeviceEvent): Shown {
  const without = (id: string) => shown.prompts.filter(({ ceremony_id }) => ceremony_id !== id);
  switch (event.kind) {
    case "connected":
      return { ...shown, connected: true };
    case "disconnected":
      return { ...shown, connected: false };
    case "offer":
    case "challenge": {
      if (event.again) return shown;
      const frame = event.kind === "offer" ? event.offer : event.challenge;
      const others = without(frame.ceremony_id);
      // Previews of the user's own code come first.
      const found = event.kind === "offer" && event.preview;
      return { ...shown, prompts: found ? [frame, ...others] : [...others, frame] };
    }
    case "closed":
      return { ...shown, prompts: without(event.closed.ceremony_id), told: event.closed.outcome };
    case "taken_down":
      return { ...shown, prompts: without(event.ceremonyId) };
    case "refused":
      return { ...shown, told: event.error.code };
    case "unanswered":
      return { ...shown, told: "No answer came: look at the page, and type its code again." };
    case "notice":
      return event.notice.event === "prompts_held" ? { ...shown, held: event.notice.count ?? 1 } : shown;
    case "stopped":
      // Stopped by the app, which left the screen.
      return event.why === "told" ? NOTHING : { ...NOTHING, stopped: event.why };
    default:
      return shown;
  }
}

/** Holds the socket of a paired device; `device` is null before pairing. */
export function useDevice() {
  const [device, setDevice] = useState<PairedDevice | null>();
  const [shown, dispatch] = useReducer(show, NOTHING);
  const socket = useRef<DeviceSocket>(undefined);

  useEffect(() => {
    void storedDevice(storage).then((found) => setDevice(found ?? null));
  }, []);

  useEffect(() => {
    if (!device) return;
    const mounted = new AbortController();
    const onEvent = (event: DeviceEvent) => {
      if (mounted.signal.aborted) return;
      dispatch(event);
      const gone = event.kind === "stopped" && (event.why === "revoked" || event.why === "unknown_device");
      if (gone) void forget().then(() => setDevice(null));
    };
    let current = "";
    const enters = async () => {
      const signer = await deviceSigner();
      if (mounted.signal.aborted || current !== "active" || socket.current) return;
      socket.current = new DeviceSocket({ device, signer, storage, onEvent, signal: mounted.signal });
    };
    const changes = (now: string) => {
      current = now;
      if (now === "active" && !socket.current) void enters();
      // "inactive" is ignored, since the app continues behind the system's NFC sheet. The connection may
      // have died meanwhile, so it is probed at once.
      else if (now === "active") socket.current?.wake();
      else if (now === "background") {
        socket.current?.stop();
        socket.current = undefined;
      }
    };
    changes(AppState.currentState);
    const state = AppState.addEventListener("change", changes);
    let network: string | undefined;
    const leave = NetInfo.addEventListener(({ type, isConnected }) => {
      if (network !== undefined && network !== type && isConnected) socket.current?.redial();
      network = type;
    });
    return () => {
      mounted.abort();
      socket.current = undefined;
      state.remove();
      leave();
    };
  }, [device]);

  return { device, setDevice, shown, socket };
}
