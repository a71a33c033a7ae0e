// The client of orval: opens, waits, and reads two errors.
import { cancelCeremony, openCeremony, readCeremony } from "./made/orval/client";
import { CeremonyType, type OpenCeremony, Status } from "./made/orval/client.schemas";

const { KEY, WHO } = process.env as Record<string, string>;
const order: OpenCeremony = { type: CeremonyType.registration, username: WHO };
const by = (key: string) => ({ headers: { Authorization: `Bearer ${key}` } });

async function main() {
  const refused = await openCeremony(order, by("rk_wrong"));
  if (refused.status !== 401) throw new Error(`${refused.status}`);
  const opened = await openCeremony(order, by(KEY));
  if (opened.status !== 201) throw new Error(`${opened.status}`);
  const { id, code } = opened.data;
  console.log(id, code);
  let view = await readCeremony(id, undefined, by(KEY));
  while (view.status === 200 && view.data.status === Status.pending) {
    view = await readCeremony(id, { wait: 25, since: view.data.seq }, by(KEY));
  }
  if (view.status !== 200 || view.data.result?.split(".").length !== 3) throw new Error("no result");
  const late = await cancelCeremony(id, by(KEY));
  if (late.status !== 409) throw new Error(`${late.status}`);
  console.log(view.data.status, refused.data.code, late.data.code);
}

void main();
