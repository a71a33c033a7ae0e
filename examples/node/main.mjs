// Signs a user in, then has a payment approved. Where it prints, a web application renders a page. The
// user needs a phone and a registered card, the API key the scopes
// ceremony:auth,ceremony:approve,ceremony:read,prior_auth:assert.
//
//   export FIDO_RELAY_URL=http://127.0.0.1:8080 FIDO_RELAY_API_KEY=rk_…
//   node main.mjs ada@example.com
import { Relay } from "./relay.mjs";

const [username] = process.argv.slice(2);
if (!username) {
  console.error("usage: node main.mjs USERNAME");
  process.exit(2);
}
const { FIDO_RELAY_URL: url, FIDO_RELAY_API_KEY: apiKey, FIDO_RELAY_ISSUER: issuer } = process.env;
const relay = await Relay.connect({ url, apiKey, issuer });

async function run(ceremony) {
  const opened = await relay.open({ username, ...ceremony });
  console.log(`${ceremony.type}: type this code into the app: ${opened.code}`);
  const view = await relay.outcome(opened, (step) => console.log(`  ${step}`));
  if (view.status !== "succeeded") throw new Error(`${view.status} (${view.reason ?? "no reason"})`);
  const claims = await relay.verify(view.result, opened);
  console.log(`${ceremony.type}: succeeded, verified for ${claims.sub}`);
  return claims;
}

await run({ type: "authentication", message: "Sign in to Example Bank", prior_auth: "password" });
const transaction = {
  title: "Payment to Grace “Amazing” Hopper",
  fields: [{ label: "Amount", value: "120.00 €" }, { label: "Reference", value: 'Rent \\ "May" <2>' }],
};
const claims = await run({ type: "approval", transaction, prior_auth: "session" });
console.log(`the payment is vouched for by the ${claims.tx_binding}`);
