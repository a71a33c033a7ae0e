"""Django with fido-relay: a card signs a user in, and approves payments that a webhook settles.

    pip install -r requirements.txt ../../clients/python
    export FIDO_RELAY_API_KEY=rk_...     # from the first command below
    export BANK_WEBHOOK_KEYS=whpk_...    # optional, from the second
    python bank.py 127.0.0.1:5002 ada    # creates the user ada, and serves

    fido-relay client create --name Bank \\
        --scope ceremony:auth,ceremony:approve,ceremony:read,prior_auth:assert
    fido-relay webhook add cli_... https://bank.example.com/hooks/relay

Further variables: FIDO_RELAY_URL, BANK_HOSTS, BANK_DATABASE, BANK_SECRET_KEY (without it a restart
ends all sessions).

Copy the model, the views and `settle`; settings and start only make this single file run. Where a
view answers JSON, an application renders a page, which shows the code large and polls for the
outcome every few seconds, or watches at the relay with its ticket (clients/js).

A sign-in belongs to the browser that asked: it is in that browser's session and can be redeemed
only from it, within a minute. A payment survives its page: the webhook settles it, or a view of it,
or `python bank.py settle`, run by cron.
"""

import dataclasses
import hashlib
import logging
import os
import re
import secrets
import sys
import time

import django
from django.conf import settings

settings.configure(
    # Holds tries and known browsers; several processes need a shared cache.
    CACHES={
        "default": {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            "OPTIONS": {"MAX_ENTRIES": 100_000},
        }
    },
    ALLOWED_HOSTS=os.environ.get("BANK_HOSTS", "127.0.0.1 localhost").split(),
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ.get("BANK_DATABASE", "bank.sqlite3"),
            "OPTIONS": {"transaction_mode": "IMMEDIATE"},
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("BANK_SECRET_KEY") or secrets.token_urlsafe(32),
    SESSION_COOKIE_AGE=900,
    # Browsers accept secure cookies on http://127.0.0.1 too, and this prefix from one host only.
    SESSION_COOKIE_NAME="__Host-session",
    SESSION_COOKIE_SECURE=True,
    CSRF_COOKIE_SECURE=True,
    USE_TZ=True,
)
django.setup()

from django.contrib.auth import get_user_model, login  # noqa: E402
from django.core.cache import cache  # noqa: E402
from django.db import connection, models, transaction  # noqa: E402
from django.http import HttpRequest, HttpResponse, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.views.decorators.csrf import csrf_exempt, ensure_csrf_cookie  # noqa: E402
from django.views.decorators.http import require_POST, require_safe  # noqa: E402
from fido_relay import (  # noqa: E402
    Context,
    Expected,
    FidoRelay,
    FidoRelayError,
    InvalidResult,
    InvalidWebhook,
    Problem,
    Transaction,
    verify_webhook,
)

log = logging.getLogger("bank")
URL = os.environ.get("FIDO_RELAY_URL", "http://127.0.0.1:8080")
# Short limits, since a user waits for each page.
relay = FidoRelay(
    URL, api_key=os.environ.get("FIDO_RELAY_API_KEY", "unset"), longest_pause=2, timeout=8
)
KEYS = os.environ.get("BANK_WEBHOOK_KEYS", "").split()
REDEEM_S = 60
# How long the relay recognises a browser after a success. It does not authenticate the user.
BROWSER, BROWSER_S = "__Host-browser", 90 * 86400
# Sign-ins a minute.
PER_ADDRESS, PER_USERNAME = 20, 10


# The model.


class Payment(models.Model):
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT)
    payee = models.CharField(max_length=60)
    cents = models.PositiveIntegerField()
    state = models.CharField(max_length=16, default="open")  # open, approved, or the relay's status
    form_id = models.CharField(max_length=64, unique=True)
    # Null until the relay has answered.
    ceremony_id = models.CharField(max_length=40, unique=True, null=True)
    client_nonce = models.CharField(max_length=64)

    class Meta:
        app_label = "bank"

    def words(self) -> Transaction:
        """The transaction to approve, made from the row to be booked."""
        amount = f"{self.cents // 100}.{self.cents % 100:02} EUR"
        return Transaction(f"Payment to {self.payee}", (("Amount", amount),))

    def expected(self) -> Expected:
        return Expected(
            ceremony_id=self.ceremony_id,
            ceremony_type="approval",
            username=self.owner.get_username(),
            client_nonce=self.client_nonce,
            tx_hash=self.words().hash(),
        )


def settle(payment: Payment) -> None:
    """Applies the ceremony's outcome; any number of calls book it once. Raises FidoRelayError if
    the relay does not answer: then nothing is decided, and the next call tries again."""
    if payment.state != "open" or payment.ceremony_id is None:
        return
    state = outcome(payment.ceremony_id, payment.expected())
    if state is None:
        return
    with transaction.atomic():
        still_open = Payment.objects.filter(pk=payment.pk, state="open")
        if still_open.update(state="approved" if state == "succeeded" else state):
            # Book it here, in the same transaction.
            log.info("payment %s: %s", payment.pk, state)
    payment.refresh_from_db()


def outcome(ceremony_id: str, expected: Expected, redeem_s: float | None = None) -> str | None:
    """The status of an ended ceremony, `succeeded` only if proven; None while it is open."""
    try:
        ceremony = relay.read(ceremony_id)
        if not ceremony.is_closed:
            return None
        if ceremony.status != "succeeded":
            if ceremony.reason == "not_me":
                log.warning("%s: the user said that it was not them", ceremony_id)
            return ceremony.status
        result = relay.verify_result(ceremony.result, expected)
    except InvalidResult as error:
        log.error("%s: %s", ceremony_id, error)
        return "unproven"
    except Problem as refusal:
        if refusal.code != "not_found":
            raise
        return "unproven"  # results are kept for 24 hours
    if redeem_s is not None and result.auth_time + redeem_s < time.time():
        return "expired"
    return "succeeded"


# The views.


@require_safe
@ensure_csrf_cookie
def index(request: HttpRequest) -> JsonResponse:
    username = request.user.get_username() if request.user.is_authenticated else None
    # The form sends this back as `form_id`, so that sending it twice makes one payment.
    answer = JsonResponse({"username": username, "form_id": secrets.token_urlsafe(16)})
    # Set with the form, so that sending the form twice sends the same request to the relay.
    kept = known_again_by(request) or secrets.token_urlsafe(32)
    answer.set_cookie(
        BROWSER, kept, max_age=BROWSER_S, secure=True, httponly=True, samesite="Lax"
    )
    return answer


@require_POST
def sign_in(request: HttpRequest) -> JsonResponse:
    """Existing and unknown users are treated alike."""
    username = request.POST.get("username", "")
    if is_too_often(request, username):
        body = {"error": "too many tries within a minute"}
        return JsonResponse(body, status=429, headers={"Retry-After": "60"})
    if earlier := request.session.get("waits_for"):
        cancel(earlier["ceremony_id"])
        # Removed only now: an attempt that could not be cancelled is kept for the next try.
        del request.session["waits_for"]
    try:
        opened = relay.open("authentication", username, context=browser(request))
    except Problem as refusal:
        if refusal.status == 400 and (refusal.detail or "").startswith("/username"):
            return JsonResponse({"error": refusal.detail}, status=400)
        raise
    request.session["waits_for"] = dataclasses.asdict(opened.expected)
    return JsonResponse({"code": opened.code, "expires_in": opened.expires_in})


def is_too_often(request: HttpRequest, username: str) -> bool:
    """Counts a try, also for unknown users. Browsers in which the user has signed in do not count
    towards the username, so that an attacker cannot lock the user out. A public page asks for a
    captcha before this limit."""
    counted = [(("address", request.META["REMOTE_ADDR"]), PER_ADDRESS)]
    if not cache.get(key_of("known", known_again_by(request), username)):
        counted.append((("username", username), PER_USERNAME))
    for what, most in counted:
        key = key_of(*what, int(time.time() // 60))
        cache.add(key, 0, 60)
        if cache.incr(key) > most:
            return True
    return False


def key_of(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def cancel(ceremony_id: str) -> None:
    """Removes the prompt from the phone, which rings for one request of a user at a time."""
    try:
        relay.cancel(ceremony_id)
    except Problem as refusal:
        if refusal.code != "not_found":
            raise


@require_POST
def finish_sign_in(request: HttpRequest) -> JsonResponse:
    waits_for = request.session.get("waits_for")
    if waits_for is None:
        return JsonResponse({"error": "no sign-in is under way"}, status=404)
    expected = Expected(**waits_for)
    status = outcome(expected.ceremony_id, expected, REDEEM_S)
    if status is None:
        return JsonResponse({"status": "pending"})
    # Removed only now, so that an unreachable relay can be asked again.
    del request.session["waits_for"]
    if status == "succeeded":
        users = get_user_model().objects.filter(username=expected.username, is_active=True)
        if (user := users.first()) is None:
            return JsonResponse({"status": "unproven"})
        if kept := known_again_by(request):
            cache.set(key_of("known", kept, expected.username), True, BROWSER_S)
        login(request, user)  # creates a new session id
    return JsonResponse({"status": status})


@require_POST
def pay(request: HttpRequest) -> JsonResponse:
    if not request.user.is_authenticated:
        return JsonResponse({"error": "sign in first"}, status=401)
    payee, cents = request.POST.get("payee", ""), request.POST.get("cents", "")
    if not (0 < len(payee) <= 60):
        return JsonResponse({"error": "payee: 1 to 60 characters"}, status=400)
    if not (cents.isascii() and cents.isdigit() and len(cents) <= 8 and int(cents) > 0):
        return JsonResponse({"error": "cents: 1 to 99999999"}, status=400)
    form_id = request.POST.get("form_id") or secrets.token_urlsafe(16)
    if not re.fullmatch(r"[\w-]{16,64}", form_id, re.ASCII):
        return JsonResponse({"error": "form_id: 16 to 64 of A-Z a-z 0-9 _ -"}, status=400)
    # The row is stored before the call, so that a form sent twice finds it.
    given = {"owner_id": request.user.pk, "payee": payee, "cents": int(cents)}
    fresh = given | {"client_nonce": secrets.token_urlsafe(24)}
    payment, _ = Payment.objects.get_or_create(form_id=form_id, defaults=fresh)
    if any(getattr(payment, name) != value for name, value in given.items()):
        return JsonResponse({"error": "form_id: used for another payment"}, status=409)
    settle(payment)  # an ended one is not opened again
    if payment.state != "open":
        return JsonResponse({"payment": payment.pk, "state": payment.state})
    try:
        opened = relay.open(
            "approval",
            request.user.get_username(),
            transaction=payment.words(),
            prior_auth="session",
            context=browser(request),
            client_nonce=payment.client_nonce,
            idempotency_key=form_id,
        )
    except Problem as refusal:
        if refusal.status == 400:
            payment.delete()
            return JsonResponse({"error": refusal.detail}, status=400)
        if refusal.code == "idempotency_mismatch":  # from another address or browser
            return JsonResponse({"error": "form_id: sent before, from elsewhere"}, status=409)
        raise
    payment.ceremony_id = opened.id
    payment.save(update_fields=["ceremony_id"])
    body = {"payment": payment.pk, "code": opened.code, "expires_in": opened.expires_in}
    return JsonResponse(body, status=201)


@require_safe
def payment(request: HttpRequest, pk: int) -> JsonResponse:
    found = Payment.objects.filter(pk=pk, owner_id=request.user.pk or 0).first()
    if found is None:
        return JsonResponse({"error": "there is no such payment"}, status=404)
    settle(found)
    return JsonResponse({"state": found.state})


@csrf_exempt  # authenticated by its signature
@require_POST
def webhook(request: HttpRequest) -> HttpResponse:
    """A webhook only triggers a read at the relay, so a duplicate changes nothing. If the relay
    does not answer, the webhook gets 503 and is retried."""
    if not KEYS:
        return HttpResponse(status=404)
    try:
        event = verify_webhook(
            request.headers,
            request.body,
            secrets=[key for key in KEYS if key.startswith("whsec_")],
            public_keys=[key for key in KEYS if key.startswith("whpk_")],
        )
    except InvalidWebhook as error:
        log.warning("a webhook is refused: %s", error)
        return HttpResponse(status=400)
    if event.type == "ceremony.closed":
        for found in Payment.objects.filter(ceremony_id=event.data["id"]):
            settle(found)
    return HttpResponse(status=204)


def browser(request: HttpRequest) -> Context:
    """The browser's context for the phone, and the secret that identifies it. Behind a proxy the
    address is the proxy's: use the header that your proxy sets."""
    agent = request.headers.get("User-Agent", "")
    context = Context(ip=request.META["REMOTE_ADDR"], user_agent=agent)
    if kept := known_again_by(request):
        context["browser"] = kept
    return context


def known_again_by(request: HttpRequest) -> str | None:
    kept = request.COOKIES.get(BROWSER, "")
    return kept if re.fullmatch(r"[A-Za-z0-9_-]{43}", kept) else None


class RelayErrors:
    """Answers 503 if the relay does not answer. Then nothing was decided."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, _: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, FidoRelayError):
            return None
        log.warning("the relay: %s", error)
        body = {"error": "the card service does not answer"}
        return JsonResponse(body, status=503, headers={"Retry-After": "5"})


settings.MIDDLEWARE.append(f"{__name__}.RelayErrors")
urlpatterns = [
    path("", index),
    path("sign-in", sign_in),
    path("sign-in/finish", finish_sign_in),
    path("payments", pay),
    path("payments/<int:pk>", payment),
    path("hooks/relay", webhook),
]


# The start.


def set_up(username: str) -> None:
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    if Payment._meta.db_table not in connection.introspection.table_names():
        with connection.schema_editor() as editor:  # in an application: a migration
            editor.create_model(Payment)
    get_user_model().objects.get_or_create(username=username)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if sys.argv[1:] == ["settle"]:
        try:
            for found in Payment.objects.filter(state="open", ceremony_id__isnull=False):
                settle(found)
        except FidoRelayError as error:
            sys.exit(f"the relay: {error}")
        return
    import waitress
    from django.core.wsgi import get_wsgi_application

    if len(sys.argv) != 3:
        sys.exit("usage: bank.py HOST:PORT USERNAME, or bank.py settle")
    listen, username = sys.argv[1:]
    set_up(username)
    server = waitress.create_server(get_wsgi_application(), listen=listen)
    print(f"open: http://{server.effective_host}:{server.effective_port}", flush=True)
    server.run()


if __name__ == "__main__":
    main()
