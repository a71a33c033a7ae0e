//! The description of one operation: a chain of its parameters and of all its answers.

use std::collections::BTreeMap;

use fido_relay_proto::schemars::JsonSchema;
use fido_relay_proto::{Problem, ProblemCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::schema::components::Components;
use crate::schema::operations::{Access, Operation, Route, WATCH_SCOPE};

/// The document while it is made.
pub(super) struct OpenApiDraft {
    components: Components,
    responses: Map<String, Value>,
    paths: Map<String, Value>,
}

impl OpenApiDraft {
    pub(super) fn new() -> Self {
        Self { components: Components::new(), responses: Map::new(), paths: Map::new() }
    }

    /// Begins the description of an operation, with who may call it.
    pub(super) fn call(&mut self, operation: Operation, summary: &str) -> Call<'_> {
        let route = operation.route();
        let (security, refusals) = security(route.access);
        let mut said = Map::new();
        said.insert("operationId".into(), route.operation_id().into());
        said.insert("tags".into(), json!([route.tag]));
        said.insert("summary".into(), summary.into());
        said.insert("security".into(), security.into());
        // Two of a header, or no host: see `edge::public::extract::authority`.
        let always = [&[ProblemCode::InvalidRequest], refusals].concat();
        let (parameters, responses) = (Vec::new(), BTreeMap::new());
        Call { draft: self, route, said, parameters, responses, last: None, always }
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

/// What OpenAPI calls the security requirements of an operation, and the problems by which every
/// such operation is refused.
fn security(access: Access) -> (Vec<Value>, &'static [ProblemCode]) {
    use ProblemCode::{
        OriginNotAllowed, ProofRefused, ScopeMissing, TooLarge, TooManyRequests, Unauthorized,
        Unavailable,
    };
    let client =
        |scopes: &[&str]| vec![json!({ "apiKey": scopes }), json!({ "accessToken": scopes })];
    let watcher = || [client(&[WATCH_SCOPE.as_str()]), vec![json!({ "ticket": [] })]];
    let every_client: &[_] = &[Unauthorized, OriginNotAllowed, TooManyRequests, Unavailable];
    let scoped: &[_] =
        &[Unauthorized, ScopeMissing, OriginNotAllowed, TooManyRequests, Unavailable];
    match access {
        Access::Anybody => (Vec::new(), &[]),
        Access::Client([]) => (client(&[]), every_client),
        Access::Client(scopes) => {
            (scopes.iter().flat_map(|scope| client(&[scope.as_str()])).collect(), scoped)
        }
        Access::Watcher => (watcher().concat(), scoped),
        Access::EventWatcher => {
            ([watcher().concat(), vec![json!({ "eventTicket": [] })]].concat(), scoped)
        }
        Access::Device => (
            vec![json!({ "dpop": [] })],
            &[ProofRefused, OriginNotAllowed, TooLarge, TooManyRequests, Unavailable],
        ),
    }
}

/// A call that is being described; [`Call::problems`] ends it.
pub(super) struct Call<'a> {
    draft: &'a mut OpenApiDraft,
    route: &'static Route,
    said: Map<String, Value>,
    parameters: Vec<Value>,
    responses: BTreeMap<u16, Value>,
    last: Option<u16>,
    /// Problems that follow from who may call, from the path and from the body.
    always: Vec<ProblemCode>,
}

impl Call<'_> {
    pub(super) fn says(mut self, text: &str) -> Self {
        self.said.insert("description".into(), text.into());
        self
    }

    /// The path's variable segment.
    pub(super) fn segment<T: JsonSchema>(self, name: &str) -> Self {
        let schema = self.draft.components.takes::<T>();
        self.segment_of(name, schema)
    }

    /// The same without a type of `proto`.
    pub(super) fn segment_of(mut self, name: &str, schema: Value) -> Self {
        self.parameters.push(json!({
            "name": name, "in": "path", "required": true, "schema": schema,
        }));
        self.always.push(ProblemCode::NotFound);
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

    /// A body that the relay reads as `T`. An example that is not of this type becomes `null`,
    /// which fails a test.
    pub(super) fn takes<T>(mut self, examples: &[(&str, Value)]) -> Self
    where
        T: JsonSchema + Serialize + DeserializeOwned,
    {
        let schema = self.draft.components.takes::<T>();
        let examples = examples.iter().map(|(name, value)| (*name, real::<T>(value)));
        let examples = examples.collect::<Vec<_>>();
        self.always.extend([ProblemCode::TooLarge, ProblemCode::UnsupportedMediaType]);
        self.takes_as("application/json", schema, &examples)
    }

    /// A body of another media type or without a type of `proto`.
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

    /// An answer of another media type or without a type of `proto`.
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

    /// Ends the call: these problems, those that follow from its access, path and body, and no
    /// others. Where a status has an answer of its own already, a problem is its second media type.
    pub(super) fn problems(self, codes: &[ProblemCode]) {
        let Self { draft, route, mut said, parameters, mut responses, always, .. } = self;
        let schema = draft.components.gives::<Problem>();
        let mut by_status: BTreeMap<u16, Vec<ProblemCode>> = BTreeMap::new();
        for code in codes.iter().chain(&always) {
            let of_status = by_status.entry(code.status()).or_default();
            if !of_status.contains(code) {
                of_status.push(*code);
            }
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
        let responses = responses.into_iter().map(|(status, answer)| (status.to_string(), answer));
        said.insert("responses".into(), Value::Object(responses.collect()));
        let calls = draft.paths.entry(route.path).or_insert_with(|| json!({}));
        calls[route.method.as_str().to_lowercase()] = said.into();
    }
}

/// The example as the type writes it, or `null` if it is not of that type.
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

/// The schema of a constant.
pub(super) fn constant(text: &str) -> Value {
    json!({ "type": "string", "enum": [text] })
}

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

/// The answer of a status with these codes, which are the names of its examples. A schema for each
/// set of codes would become a class in generated clients, or make generators fail.
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
            json!({ "Retry-After": always("Seconds to wait before the next request", seconds) })
        }
        _ => return response,
    };
    response["headers"] = headers;
    response
}
