//! One call, described: a chain of what it asks for and of all that it may answer.

use std::collections::BTreeMap;

use fido_relay_proto::http::Scope;
use fido_relay_proto::schemars::JsonSchema;
use fido_relay_proto::{Problem, ProblemCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::schema::components::Components;

/// The document while it is made.
pub(super) struct Draft {
    components: Components,
    responses: Map<String, Value>,
    paths: Map<String, Value>,
}

impl Draft {
    pub(super) fn new() -> Self {
        Self { components: Components::new(), responses: Map::new(), paths: Map::new() }
    }

    /// Begins a call. `id` names it in generated clients and never changes.
    pub(super) fn call(
        &mut self,
        (method, path): (&str, &'static str),
        tag: &str,
        id: &str,
        summary: &str,
    ) -> Call<'_> {
        let mut said = Map::new();
        said.insert("operationId".into(), id.into());
        said.insert("tags".into(), json!([tag]));
        said.insert("summary".into(), summary.into());
        let method = method.to_lowercase();
        let (parameters, responses) = (Vec::new(), BTreeMap::new());
        // Two of a header, or no host: see `edge::http::authority`.
        let always = vec![ProblemCode::InvalidRequest];
        Call { draft: self, path, method, said, parameters, responses, last: None, always }
    }

    /// A reference to the schema of what the relay reads as `T`.
    pub(super) fn schema_of<T: JsonSchema>(&mut self) -> Value {
        self.components.takes::<T>()
    }

    /// A reference to the schema of what the relay writes as `T`.
    pub(super) fn given_schema_of<T: JsonSchema>(&mut self) -> Value {
        self.components.gives::<T>()
    }

    /// A reference to a schema that no type has.
    pub(super) fn named(&mut self, name: &str, schema: Value) -> Value {
        self.components.named(name, schema)
    }

    /// Paths, responses and schemas.
    pub(super) fn finish(self) -> (Map<String, Value>, Map<String, Value>, Map<String, Value>) {
        (self.paths, self.responses, self.components.finish())
    }
}

/// Who may call.
pub(super) enum Access<'a> {
    /// Anybody.
    Anybody,
    /// A client with any of these scopes; without any, every client.
    Client(&'a [Scope]),
    /// A client that may read, or a page with the ticket.
    Watcher,
    /// The same, or whoever has a ticket for one request.
    EventWatcher,
    /// A device, by the proof in its request.
    Device,
}

/// A call that is being described; [`Call::problems`] ends it.
pub(super) struct Call<'a> {
    draft: &'a mut Draft,
    path: &'static str,
    method: String,
    said: Map<String, Value>,
    parameters: Vec<Value>,
    responses: BTreeMap<u16, Value>,
    last: Option<u16>,
    /// What any call of its kind may be refused with.
    always: Vec<ProblemCode>,
}

impl Call<'_> {
    pub(super) fn says(mut self, text: &str) -> Self {
        self.said.insert("description".into(), text.into());
        self
    }

    pub(super) fn asks(mut self, access: &Access<'_>) -> Self {
        let client =
            |scopes: &[&str]| vec![json!({ "apiKey": scopes }), json!({ "accessToken": scopes })];
        let read = [Scope::CeremonyRead.as_str()];
        let security = match access {
            Access::Anybody => Vec::new(),
            Access::Client([]) => client(&[]),
            Access::Client(scopes) => {
                scopes.iter().flat_map(|scope| client(&[scope.as_str()])).collect()
            }
            Access::Device => vec![json!({ "dpop": [] })],
            Access::Watcher => [client(&read), vec![json!({ "ticket": [] })]].concat(),
            Access::EventWatcher => {
                [client(&read), vec![json!({ "ticket": [] }), json!({ "eventTicket": [] })]]
                    .concat()
            }
        };
        if !security.is_empty() {
            // Too many credentials that are not good.
            self.always.push(ProblemCode::TooManyRequests);
        }
        self.said.insert("security".into(), security.into());
        self
    }

    /// The path's variable segment.
    pub(super) fn segment<T: JsonSchema>(self, name: &str) -> Self {
        let schema = self.draft.components.takes::<T>();
        self.segment_of(name, schema)
    }

    /// The same without a type of ours.
    pub(super) fn segment_of(mut self, name: &str, schema: Value) -> Self {
        self.parameters.push(json!({
            "name": name, "in": "path", "required": true, "schema": schema,
        }));
        self
    }

    pub(super) fn query(self, name: &str, about: &str, schema: Value) -> Self {
        self.parameter("query", name, about, schema)
    }

    /// The same with the schema of a type.
    pub(super) fn query_of<T: JsonSchema>(self, name: &str, about: &str) -> Self {
        let schema = self.draft.components.takes::<T>();
        self.parameter("query", name, about, schema)
    }

    pub(super) fn header(self, name: &str, about: &str, schema: Value) -> Self {
        self.parameter("header", name, about, schema)
    }

    fn parameter(mut self, place: &str, name: &str, about: &str, schema: Value) -> Self {
        self.parameters.push(json!({
            "name": name, "in": place, "description": about, "schema": schema,
        }));
        self
    }

    /// A body that the relay reads as `T`. An example that is none is left out, and the tests miss
    /// it.
    pub(super) fn takes<T>(self, examples: &[(&str, Value)]) -> Self
    where
        T: JsonSchema + Serialize + DeserializeOwned,
    {
        let schema = self.draft.components.takes::<T>();
        let examples = examples.iter().map(|(name, value)| (*name, real::<T>(value)));
        let examples = examples.collect::<Vec<_>>();
        self.takes_as("application/json", schema, &examples)
    }

    /// A body of another media type or without a type of ours.
    pub(super) fn takes_as(
        mut self,
        media_type: &str,
        schema: Value,
        examples: &[(&str, Value)],
    ) -> Self {
        let content = content(media_type, schema, examples);
        self.said.insert("requestBody".into(), json!({ "required": true, "content": content }));
        self
    }

    /// An answer that the relay writes as `T`.
    pub(super) fn gives<T>(self, status: u16, about: &str, examples: &[(&str, Value)]) -> Self
    where
        T: JsonSchema + Serialize + DeserializeOwned,
    {
        let schema = self.draft.components.gives::<T>();
        let examples = examples.iter().map(|(name, value)| (*name, real::<T>(value)));
        let examples = examples.collect::<Vec<_>>();
        self.gives_as(status, about, "application/json", schema, &examples)
    }

    /// An answer of another media type or without a type of ours.
    pub(super) fn gives_as(
        mut self,
        status: u16,
        about: &str,
        media_type: &str,
        schema: Value,
        examples: &[(&str, Value)],
    ) -> Self {
        let content = content(media_type, schema, examples);
        self.responses.insert(status, json!({ "description": about, "content": content }));
        self.last = Some(status);
        self
    }

    /// An answer without a body.
    pub(super) fn gives_nothing(mut self, status: u16, about: &str) -> Self {
        self.responses.insert(status, json!({ "description": about }));
        self.last = Some(status);
        self
    }

    /// A header of the answer that was described last.
    pub(super) fn with(mut self, name: &str, about: &str, schema: Value, always: bool) -> Self {
        let response = self.last.and_then(|status| self.responses.get_mut(&status));
        if let Some(response) = response {
            response["headers"][name] = header(about, schema, always);
        }
        self
    }

    /// A header that any answer of this call may carry, but those that are problems.
    pub(super) fn with_all(mut self, name: &str, about: &str, schema: &Value) -> Self {
        for response in self.responses.values_mut() {
            response["headers"][name] = header(about, schema.clone(), false);
        }
        self
    }

    /// Ends the call: these problems and no others. Where a status has an answer of its own
    /// already, a problem is its second media type.
    pub(super) fn problems(self, codes: &[ProblemCode]) {
        let Self { draft, path, method, mut said, parameters, mut responses, always, .. } = self;
        let schema = draft.components.gives::<Problem>();
        let mut by_status: BTreeMap<u16, Vec<ProblemCode>> = BTreeMap::new();
        let always = always.iter().filter(|code| !codes.contains(code));
        for code in codes.iter().chain(always) {
            by_status.entry(code.status()).or_default().push(*code);
        }
        for (status, codes) in by_status {
            let problem = problem(&schema, status, &codes);
            if let Some(own) = responses.get_mut(&status) {
                own["content"]["application/problem+json"] =
                    problem["content"]["application/problem+json"].clone();
                continue;
            }
            let name: Vec<String> = codes.iter().map(|code| format!("{code:?}")).collect();
            let name = name.join("Or");
            responses.insert(status, json!({ "$ref": format!("#/components/responses/{name}") }));
            draft.responses.insert(name, problem);
        }
        if !parameters.is_empty() {
            said.insert("parameters".into(), parameters.into());
        }
        let responses = responses.into_iter().map(|(status, told)| (status.to_string(), told));
        said.insert("responses".into(), Value::Object(responses.collect()));
        let calls = draft.paths.entry(path).or_insert_with(|| json!({}));
        calls[method] = said.into();
    }
}

/// The value as the type says it, or nothing if it is none of that type.
fn real<T: Serialize + DeserializeOwned>(example: &Value) -> Value {
    let real = serde_json::from_value::<T>(example.clone()).and_then(serde_json::to_value);
    real.unwrap_or_default()
}

fn content(media_type: &str, schema: Value, examples: &[(&str, Value)]) -> Value {
    let mut content = json!({ media_type: { "schema": schema } });
    for (name, value) in examples {
        content[media_type]["examples"][*name] = json!({ "value": value });
    }
    content
}

fn header(about: &str, schema: Value, always: bool) -> Value {
    json!({ "description": about, "required": always, "schema": schema })
}

/// The one text that there is.
pub(super) fn constant(text: &str) -> Value {
    json!({ "type": "string", "enum": [text] })
}

/// A problem as it is answered.
fn example(code: ProblemCode) -> Problem {
    let problem = Problem::new(code);
    if code == ProblemCode::InvalidRequest {
        problem.with_detail("/username: missing")
    } else if code == ProblemCode::ScopeMissing {
        problem.with_detail("needs the scope ceremony:read")
    } else {
        problem
    }
}

/// The answer of a status with these codes: they are the names of the examples. In the schema they
/// would be one of their own for each answer, which generators make a class of, or fail on.
fn problem(schema: &Value, status: u16, codes: &[ProblemCode]) -> Value {
    let about: Vec<_> = codes.iter().map(|code| code.title()).collect();
    let mut examples = Map::new();
    for code in codes {
        let example = json!(example(*code));
        let name = example["code"].as_str().unwrap_or_default().to_owned();
        examples.insert(name, json!({ "value": example }));
    }
    let mut response = json!({
        "description": about.join(", or: "),
        "content": {
            "application/problem+json": { "schema": schema, "examples": examples },
        },
    });
    let always = |about: &str, schema| header(about, schema, true);
    let headers = match status {
        401 => json!({ "WWW-Authenticate": always("RFC 9110", constant("Bearer")) }),
        426 => json!({
            "Upgrade": always("RFC 9110", constant("websocket")),
            "Sec-WebSocket-Version": always("RFC 6455", constant("13")),
        }),
        429 | 503 => {
            let seconds = json!({ "type": "integer", "minimum": 0 });
            json!({ "Retry-After": always("Seconds until it is worth asking again", seconds) })
        }
        _ => return response,
    };
    response["headers"] = headers;
    response
}
