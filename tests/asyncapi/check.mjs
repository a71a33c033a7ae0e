// Reads {"document", "messages": [{"message", "text"}]} and tells what the official parser says of
// the document, and for each text why it is none of its message's schema (null: it is one). With
// "headers" in place of "text", the same of the message's headers.
import { Parser } from "@asyncapi/parser";
import { Ajv } from "ajv";
import { readFileSync } from "node:fs";

const { document, messages } = JSON.parse(readFileSync(0, "utf8"));
const { diagnostics } = await new Parser().parse(JSON.stringify(document));
// 0 is an error, 1 a warning; beyond are remarks, such as that there is a later version.
const complaints = diagnostics
  .filter(({ severity }) => severity <= 1)
  .map(({ code, path, message }) => `${code} at ${path.join(".")}: ${message}`);

const ajv = new Ajv({ strict: false, validateSchema: false, validateFormats: false });
// Only what schemas refer to: the document as a whole is no schema.
ajv.addSchema({ components: document.components }, "document");
const schemas = new Map();
function schemaOf(pointer) {
  if (!schemas.has(pointer)) schemas.set(pointer, ajv.compile({ $ref: `document#${pointer}` }));
  return schemas.get(pointer);
}
const verdicts = messages.map(({ message, text, headers }) => {
  const part = headers === undefined ? "payload" : "headers";
  const validate = schemaOf(`/components/messages/${message}/${part}`);
  return validate(headers ?? JSON.parse(text)) ? null : ajv.errorsText(validate.errors);
});
process.stdout.write(JSON.stringify({ complaints, verdicts }));
