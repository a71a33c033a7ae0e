"""The Python client of openapi-generator: opens, waits, and reads two errors."""

import os

import openapi_client as relay


def ceremonies(key):
    configuration = relay.Configuration(host=os.environ["RELAY"], access_token=key)
    return relay.CeremoniesApi(relay.ApiClient(configuration))


def code(call):
    try:
        call()
    except relay.ApiException as error:
        return error.data.code


order = relay.OpenCeremony(type=relay.CeremonyType.REGISTRATION, username=os.environ["WHO"])
refused = code(lambda: ceremonies("rk_wrong").open_ceremony(order))
mine = ceremonies(os.environ["KEY"])
opened = mine.open_ceremony(order)
print(opened.id, opened.code, flush=True)
view = mine.read_ceremony(opened.id)
while view.status == relay.Status.PENDING:
    view = mine.read_ceremony(opened.id, wait=25, since=view.seq)
assert view.result.count(".") == 2 and view.progress[-1].step == "closed"
print(view.status.value, refused, code(lambda: mine.cancel_ceremony(opened.id)))
