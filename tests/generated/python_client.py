"""The client of openapi-python-client: opens, waits, and reads two errors."""

import os

from fido_relay_client import AuthenticatedClient
from fido_relay_client.api.ceremonies import cancel_ceremony, open_ceremony, read_ceremony
from fido_relay_client.models import CeremonyType, OpenCeremony, OpenedCeremony, Problem, Status

order = OpenCeremony(type_=CeremonyType.REGISTRATION, username=os.environ["WHO"])
stranger = AuthenticatedClient(base_url=os.environ["RELAY"], token="rk_wrong")
refused = open_ceremony.sync(client=stranger, body=order)
assert isinstance(refused, Problem)
mine = AuthenticatedClient(base_url=os.environ["RELAY"], token=os.environ["KEY"], timeout=40)
opened = open_ceremony.sync(client=mine, body=order)
assert isinstance(opened, OpenedCeremony)
print(opened.id, opened.code, flush=True)
view = read_ceremony.sync(opened.id, client=mine)
while view.status == Status.PENDING:
    view = read_ceremony.sync(opened.id, client=mine, wait=25, since=view.seq)
assert view.result.count(".") == 2 and view.progress[-1].step == "closed"
late = cancel_ceremony.sync(opened.id, client=mine)
assert isinstance(late, Problem)
print(view.status.value, refused.code, late.code)
