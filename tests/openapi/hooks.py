"""What schemathesis cannot know of a relay: ids of things that are there, and which requests would
wait."""

import json
import os
import re
import unicodedata

import schemathesis

KNOWN = json.loads(os.environ["FIDO_RELAY_KNOWN"])
# Ceremonies that nobody will end: what schemathesis opens, it names again.
OPEN = {KNOWN["open"]}


# Characters that pass where a script or an emoji needs them.
NEEDED = set("\u200c\u200d\ufe0f")
# Blank ones that are of no category of blanks.
EMPTY = set("\u115f\u1160\u2800\u3164\uffa0\ufffc\ufffd\U0001d159")
FORBIDDEN = {"Cc", "Cf", "Cn", "Co", "Cs", "Mn", "Me", "Zl", "Zp"}


def within_all_rules(value):
    """The same with texts that also keep the rules that stand in a schema's description alone."""
    if isinstance(value, dict):
        return {name: within_all_rules(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [within_all_rules(inner) for inner in value]
    if not isinstance(value, str) or value.isascii() and "  " not in value:
        return value
    if re.search("[\x00-\x1f\x7f-\x9f]", value):
        return value
    # As long as before: a text that is too long stays so.
    shown = "".join(
        " " if unicodedata.category(c) == "Zs"
        else "x" if c in NEEDED | EMPTY or unicodedata.category(c) in FORBIDDEN
        else c
        for c in value
    )
    return unicodedata.normalize("NFC", re.sub("^ | $| (?= )", "x", shown))


@schemathesis.hook
def map_body(context, body):
    return within_all_rules(body)


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Half of the ids are of something that is there."""
    operation = context.operation
    path_parameters = within_all_rules(path_parameters)
    if not path_parameters or operation.method.upper() == "DELETE":
        return path_parameters
    known = {
        "/v1/ceremonies/": [KNOWN["closed"], KNOWN["open"]],
        "/v1/devices/": [KNOWN["device"]],
        "/v1/webhooks/": [KNOWN["webhook"]],
        "/v1/users/": ["ada"],
    }
    for prefix, ids in known.items():
        if not operation.path.startswith(prefix):
            continue
        name = "username" if "users" in prefix else "id"
        drawn = str(path_parameters.get(name))
        choice = sum(drawn.encode()) % (2 * len(ids))
        if choice < len(ids):
            path_parameters = {**path_parameters, name: ids[choice]}
    return path_parameters


@schemathesis.hook
def before_call(context, case, kwargs):
    """No request waits: nothing is held, events are asked of what has ended, and no endpoint that
    is there is sent a test, for its host is in nobody's network."""
    query = case.query or {}
    if str(query.get("wait", "")).isdigit():
        query["wait"] = 0
    if case.operation.path.endswith("/events") and case.path_parameters.get("id") in OPEN:
        case.path_parameters["id"] = KNOWN["closed"]
    if case.operation.path.endswith("/test") and case.path_parameters.get("id") == KNOWN["webhook"]:
        case.path_parameters["id"] = "whk_AAAAAAAAAAAAAAAAAAAAAA"


@schemathesis.hook
def after_call(context, case, response):
    if case.operation.path == "/v1/ceremonies" and response.status_code == 201:
        OPEN.add(response.json()["id"])
