// A push service with subscriptions (web-push-testing) on a free port. It answers each line of JSON
// with its URL, and ends with its input.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const WebPushTestingServer = require("web-push-testing/src/server.js");
const { PushApiModel } = require("web-push-testing/src/PushApiModel.js");

// Its own words would stand between the answers.
console.log = () => {};
const model = new PushApiModel();
const server = new WebPushTestingServer(model, 0);
server.startServer();
await new Promise((resolve) => server._server.once("listening", resolve));
const url = `http://localhost:${server._server.address().port}`;
model.notifyUrl = `${url}/notify/`;
for await (const _ of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify({ url })}\n`);
}
process.exit(0);
