// The types of openapi-typescript with openapi-fetch: opens, waits, and reads two errors.
import createClient from "openapi-fetch";
import type { components, paths } from "./made/openapi_typescript";

const { RELAY, KEY, WHO } = process.env as Record<string, string>;
const order: components["schemas"]["OpenCeremony"] = { type: "registration", username: WHO };

function client(key: string) {
  return createClient<paths>({ baseUrl: RELAY, headers: { Authorization: `Bearer ${key}` } });
}

async function main() {
  const refused = await client("rk_wrong").POST("/v1/ceremonies", { body: order });
  const mine = client(KEY);
  const { data: opened } = await mine.POST("/v1/ceremonies", { body: order });
  if (!opened) throw new Error("not opened");
  console.log(opened.id, opened.code);
  const path = { id: opened.id };
  let { data: view } = await mine.GET("/v1/ceremonies/{id}", { params: { path } });
  while (view?.status === "pending") {
    const query = { wait: 25, since: view.seq };
    ({ data: view } = await mine.GET("/v1/ceremonies/{id}", { params: { path, query } }));
  }
  if (view?.result?.split(".").length !== 3) throw new Error("no result");
  const late = await mine.DELETE("/v1/ceremonies/{id}", { params: { path } });
  console.log(view.status, refused.error?.code, late.error?.code);
}

void main();
