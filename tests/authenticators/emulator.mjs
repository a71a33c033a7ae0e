// An authenticator in JavaScript that another project wrote: nid-webauthn-emulator, which plays
// the browser too. Orders and answers are those of software.py; it attests nothing, whatever
// `format` says.
import nid from "nid-webauthn-emulator";
import { createInterface } from "node:readline";

const cards = new Map();

function made(order) {
  const { algorithm, format } = order;
  const interaction = (user) => ({ user, options: { up: true, uv: current.verified } });
  const params = {
    algorithmIdentifiers: [algorithm],
    userMakeCredentialInteraction: interaction,
    userGetAssertionInteraction: interaction,
    // Its default is one store for all.
    credentialsRepository: new nid.PasskeysCredentialsMemoryRepository(),
    stateless: format === "stateless",
  };
  return new nid.default(new nid.AuthenticatorEmulator(params));
}

let current;
for await (const line of createInterface({ input: process.stdin })) {
  const order = (current = JSON.parse(line));
  let answer;
  try {
    if (!cards.has(order.card)) cards.set(order.card, made(order));
    const card = cards.get(order.card);
    const credential = order.create
      ? card.createJSON(order.origin, order.create)
      : card.getJSON(order.origin, order.get);
    answer = { credential };
  } catch (error) {
    answer = { declined: `${error.name}: ${error.message}` };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
