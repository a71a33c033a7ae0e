// A service in Node, without types of browsers.
import { DeviceSocket, watchCeremony, type PairedDevice, type WatchEvent } from "@fido-relay/client";
import { generateDeviceKey, webCryptoSigner } from "@fido-relay/client";
import { dialer } from "@fido-relay/client/node";

export async function hold(device: PairedDevice): Promise<DeviceSocket> {
  const signer = await webCryptoSigner(await generateDeviceKey());
  return new DeviceSocket({ device, signer, dial: dialer({ ca: "" }), onEvent: ({ kind }) => console.log(kind) });
}

export async function end(url: string, ticket: string, signal: AbortSignal): Promise<WatchEvent> {
  return watchCeremony(url, ticket, { signal, fetch }).closed;
}
