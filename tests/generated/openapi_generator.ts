// The client of openapi-generator's typescript-fetch: opens, waits, and reads two errors.
import {
  CeremoniesApi,
  CeremonyType,
  Configuration,
  ProblemFromJSON,
  ResponseError,
  Status,
} from "./made/openapi_generator";

const { RELAY, KEY, WHO } = process.env as Record<string, string>;
const openCeremony = { type: CeremonyType.Registration, username: WHO };

// Not as its `accessToken`, which it sends without `Bearer` where an OAuth token is taken too.
function ceremonies(key: string) {
  const headers = { Authorization: `Bearer ${key}` };
  return new CeremoniesApi(new Configuration({ basePath: RELAY, headers }));
}

async function code(call: Promise<unknown>) {
  const error = await call.catch((error: unknown) => error);
  if (!(error instanceof ResponseError)) throw error;
  return ProblemFromJSON(await error.response.json()).code;
}

async function main() {
  const refused = await code(ceremonies("rk_wrong").openCeremony({ openCeremony }));
  const mine = ceremonies(KEY);
  const opened = await mine.openCeremony({ openCeremony });
  console.log(opened.id, opened.code);
  let view = await mine.readCeremony({ id: opened.id });
  while (view.status === Status.Pending) {
    view = await mine.readCeremony({ id: opened.id, wait: 25, since: view.seq });
  }
  if (view.result?.split(".").length !== 3) throw new Error("no result");
  console.log(view.status, refused, await code(mine.cancelCeremony({ id: opened.id })));
}

void main();
