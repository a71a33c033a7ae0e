// A page of the test: Chromium plays the browser, and its virtual authenticator the card.

async function credential(verb, options) {
  const parsed =
    verb === "create"
      ? PublicKeyCredential.parseCreationOptionsFromJSON(options)
      : PublicKeyCredential.parseRequestOptionsFromJSON(options);
  try {
    const made = await navigator.credentials[verb]({ publicKey: parsed });
    return { credential: made.toJSON() };
  } catch (error) {
    return { declined: `${error.name}: ${error.message}` };
  }
}

// Both ceremonies by the page itself, with the session in the browser's cookie.
async function bothCeremonies(wishes) {
  const statuses = [];
  for (const [verb, ceremony] of [["create", "attestation"], ["get", "assertion"]]) {
    const post = (step, body) =>
      fetch(`/fidoapi/certify/${ceremony}/${step}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      });
    const begun = await (await post("options", wishes)).json();
    const made = await credential(verb, begun);
    for (const _ of ["first", "again"]) {
      statuses.push((await post("result", made.credential)).status);
    }
  }
  return statuses;
}
