// Asks verification of examples/node: one question a line, one answer a line.
import { createInterface } from "node:readline";
import { Relay } from "./relay.mjs";

const relays = new Map();
for await (const line of createInterface({ input: process.stdin })) {
  const { url, issuer, client_id: clientId, tx_binding: txBinding, token, opened, now } = JSON.parse(line);
  const name = `${url} ${issuer} ${clientId} ${txBinding}`;
  if (!relays.has(name)) relays.set(name, new Relay({ url, apiKey: "rk_x", issuer, clientId, txBinding }));
  await relays.get(name).verify(token, opened, now).then(
    () => console.log("ok"),
    (error) => console.log(`refused: ${error.message}`),
  );
}
