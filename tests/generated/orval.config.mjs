// Run where the document is; what is generated calls the relay that it was generated for.
export default {
  relay: {
    input: { target: "./openapi.json" },
    output: { target: "./made/orval/client.ts", mode: "split", client: "fetch", baseUrl: process.env.RELAY },
  },
};
