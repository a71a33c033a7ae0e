//! Every operation of the HTTP interface, declared once: method, path, tag, and who may call it.
//!
//! The public router, the scope checks, the answers to CORS preflights and the OpenAPI document are
//! all made from this table, so that none of them can contradict another. How an operation is
//! served is not known here.

use fido_relay_proto::http::Scope;

/// The scope of a client that reads and watches its ceremonies.
pub const WATCH_SCOPE: Scope = Scope::CeremonyRead;

/// Who may call an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// No credential is asked for; a proof may be in the body.
    Anybody,
    /// A client with any of these scopes; with an empty list every client.
    Client(&'static [Scope]),
    /// A client that may read, or a page with the ceremony's ticket.
    Watcher,
    /// The same, or a page with a ticket for one request of the events.
    EventWatcher,
    /// A device, by the proof in its request.
    Device,
}

/// The methods that operations have. `HEAD` is served as `GET` without a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// As it is written in a request.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    pub operation: Operation,
    pub method: Method,
    /// The template that the router matches; it is also the `route` label of the metrics.
    pub path: &'static str,
    /// The chapter of the OpenAPI document.
    pub tag: &'static str,
    pub access: Access,
    name: &'static str,
}

impl Route {
    /// The row of the operation that serves this method at this path template.
    #[must_use]
    pub fn find(method: &str, path: &str) -> Option<&'static Self> {
        let method = if method == "HEAD" { "GET" } else { method };
        Self::at(path).find(|route| route.method.as_str() == method)
    }

    /// The rows of every method at this path template.
    pub fn at(path: &str) -> impl Iterator<Item = &'static Self> {
        ROUTES.iter().filter(move |route| route.path == path)
    }

    /// The operation's name in generated clients, which never changes.
    #[must_use]
    pub fn operation_id(&self) -> String {
        let (first, rest) = self.name.split_at(1);
        first.to_lowercase() + rest
    }
}

impl Operation {
    /// Its row of the table.
    #[must_use]
    pub const fn route(self) -> &'static Route {
        &ROUTES[self as usize]
    }

    #[must_use]
    pub const fn path(self) -> &'static str {
        self.route().path
    }
}

macro_rules! operations {
    ($($name:ident $method:ident $path:literal $tag:literal $access:expr;)*) => {
        /// An operation by its name in the OpenAPI document, where it begins with a small letter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Operation {
            $($name,)*
        }

        /// The table, in the order of [`Operation`].
        pub const ROUTES: &[Route] = &[$(Route {
            operation: Operation::$name,
            method: Method::$method,
            path: $path,
            tag: $tag,
            access: $access,
            name: stringify!($name),
        },)*];
    };
}

use Access::{Anybody, Client, Device, EventWatcher, Watcher};

const OPEN: Access = Client(&[Scope::CeremonyAuth, Scope::CeremonyReg, Scope::CeremonyApprove]);
const READ: Access = Client(&[WATCH_SCOPE]);
const PAIR: Access = Client(&[Scope::DevicePair]);
const UNLOCK: Access = Client(&[Scope::UserUnlock]);
const HOOKS: Access = Client(&[Scope::WebhookAdmin]);
const REVOKE: Access = Client(&[Scope::DeviceRevoke]);
const CARDS: Access = Client(&[Scope::CardRead]);
const UNCARD: Access = Client(&[Scope::CardRevoke]);

operations! {
    OpenCeremony         Post   "/v1/ceremonies"                       "ceremonies" OPEN;
    ReadCeremony         Get    "/v1/ceremonies/{id}"                  "ceremonies" Watcher;
    CancelCeremony       Delete "/v1/ceremonies/{id}"                  "ceremonies" READ;
    ReadReceipt          Get    "/v1/ceremonies/{id}/receipt"          "ceremonies" READ;
    WatchCeremony        Get    "/v1/ceremonies/{id}/events"           "watching"   EventWatcher;
    ExchangeTicket       Post   "/v1/ceremonies/{id}/events/ticket"    "watching"   Watcher;
    OpenWatchSocket      Get    "/v1/ceremonies/{id}/socket"           "watching"   Watcher;
    OpenPairing          Post   "/v1/pairings"                         "devices"    PAIR;
    VoidPairings         Delete "/v1/users/{username}/pairings"        "devices"    PAIR;
    PairDevice           Post   "/v1/devices"                          "devices"    Anybody;
    ListDevices          Get    "/v1/users/{username}/devices"         "devices"    PAIR;
    RenameDevice         Patch  "/v1/devices/{id}"                     "devices"    PAIR;
    RevokeDevice         Delete "/v1/devices/{id}"                     "devices"    REVOKE;
    RotateDeviceKey      Post   "/v1/device/key"                       "devices"    Anybody;
    OpenDeviceSocket     Get    "/v1/device/socket"                    "devices"    Anybody;
    PullCeremonies       Get    "/v1/device/ceremonies"                "phones"     Device;
    ActOnCeremony        Post   "/v1/device/ceremonies/{id}/{act}"     "phones"     Device;
    ClaimByCode          Post   "/v1/device/claim"                     "phones"     Device;
    DeclineHeld          Post   "/v1/device/decline"                   "phones"     Device;
    SetPushAddress       Put    "/v1/device/push"                      "phones"     Device;
    ListCards            Get    "/v1/users/{username}/cards"           "cards"      CARDS;
    RemoveCard           Delete "/v1/users/{username}/cards/{id}"      "cards"      UNCARD;
    ReadPrompts          Get    "/v1/users/{username}/prompts"         "users"      UNLOCK;
    UnlockPrompts        Delete "/v1/users/{username}/prompts"         "users"      UNLOCK;
    CreateWebhook        Post   "/v1/webhooks"                         "webhooks"   HOOKS;
    ListWebhooks         Get    "/v1/webhooks"                         "webhooks"   HOOKS;
    ReadWebhook          Get    "/v1/webhooks/{id}"                    "webhooks"   HOOKS;
    ChangeWebhook        Patch  "/v1/webhooks/{id}"                    "webhooks"   HOOKS;
    RemoveWebhook        Delete "/v1/webhooks/{id}"                    "webhooks"   HOOKS;
    RotateWebhookKey     Post   "/v1/webhooks/{id}/secrets"            "webhooks"   HOOKS;
    EnableWebhook        Post   "/v1/webhooks/{id}/enable"             "webhooks"   HOOKS;
    TestWebhook          Post   "/v1/webhooks/{id}/test"               "webhooks"   HOOKS;
    ListDeliveries       Get    "/v1/webhooks/{id}/deliveries"         "webhooks"   HOOKS;
    ResendDelivery       Post   "/v1/webhooks/{id}/deliveries/{delivery}/resend" "webhooks" HOOKS;
    ReadClient           Get    "/v1/clients/self"                     "access"     Client(&[]);
    IssueToken           Post   "/oauth/token"                         "access"     Anybody;
    ReadServerMetadata   Get    "/.well-known/oauth-authorization-server" "access"  Anybody;
    ReadKeys             Get    "/.well-known/jwks.json"               "access"     Anybody;
    BeginRegistration    Post   "/fidoapi/certify/attestation/options" "client-direct" Anybody;
    CompleteRegistration Post   "/fidoapi/certify/attestation/result"  "client-direct" Anybody;
    BeginAuthentication  Post   "/fidoapi/certify/assertion/options"   "client-direct" Anybody;
    CompleteAuthentication Post "/fidoapi/certify/assertion/result"    "client-direct" Anybody;
    BeginRegistrationAlias Post "/fidoapi/register/begin"              "client-direct" Anybody;
    CompleteRegistrationAlias Post "/fidoapi/register/complete"        "client-direct" Anybody;
    BeginAuthenticationAlias Post "/fidoapi/authenticate/begin"        "client-direct" Anybody;
    CompleteAuthenticationAlias Post "/fidoapi/authenticate/complete"  "client-direct" Anybody;
    IsAlive              Get    "/healthz"                             "service"    Anybody;
    IsReady              Get    "/readyz"                              "service"    Anybody;
    FindDocs             Get    "/"                                    "service"    Anybody;
    ReadOpenApi          Get    "/openapi.json"                        "service"    Anybody;
    ReadAsyncApi         Get    "/asyncapi.json"                       "service"    Anybody;
    ReadDocs             Get    "/docs"                                "service"    Anybody;
}
