"""Texts of the pages for every outcome, with advice.

The phone, which the user holds, explains card errors; anyone may see the page. So no text here
depends on a card error or on whether the user exists, except after a registration, where the user
is authenticated. "Nothing was done" is used only where that is certain.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    headline: str
    detail: str
    advice: str = ""


DONE = {
    "registration": Words(
        "Your card is registered",
        "From now on it signs you in and approves your payments.",
    ),
    "authentication": Words(
        "This sign-in is over",
        "Your card confirmed it, and it was used or not fetched in time.",
        "Start again to sign in.",
    ),
    "approval": Words(
        "Payment approved",
        "Confirmed with your card and its PIN, for exactly these lines.",
    ),
}

ENDED = {
    "declined": Words(
        "Declined on your phone",
        "The answer on the phone was “No”. Nothing was done.",
        "If that was a mistake, start again.",
    ),
    "not_me": Words(
        "Reported on your phone",
        "The answer on the phone was “That was not me”. Nothing was done, and this browser is "
        "signed out.",
        "If you did not start this, call the bank: your name may be in wrong hands.",
    ),
    "rejected": Words(
        "The card was not accepted",
        "Your card answered, but it is not the card that is registered for you.",
        "Use the card that you registered here, and start again.",
    ),
    "clone_suspected": Words(
        "The card was not accepted",
        "Something about this card is not as it should be. Nothing was done.",
        "Call the bank before you use it again.",
    ),
    "wrong_code": Words(
        "The code was wrong",
        "The code was wrong three times, so it is void now.",
        "Start again and type the new code. The bank never asks you to read it out.",
    ),
    "card": Words(
        "The card could not do it",
        "Something went wrong between the phone and the card, or the card is not one that is "
        "registered for you. Nothing was done.",
        "Your phone shows the reason. Then start again, or register a card first.",
    ),
    "service": Words(
        "That did not work",
        "The service that verifies cards did not work. Nothing was done.",
        "Try again in a few minutes.",
    ),
    "expired": Words(
        "Time ran out",
        "This was not finished on the phone in time. Nothing was done.",
        "Take the phone and the card, and start again. After several requests in a row "
        "the phone stays silent for a while: then wait some minutes first.",
    ),
    "cancelled": Words("Cancelled", "You stopped this before it was finished. Nothing was done."),
    "indeterminate": Words(
        "Not confirmed",
        "We could not learn how this ended, so we treat it as not approved.",
        "Wait a moment, and start again.",
    ),
    "unproven": Words(
        "Not confirmed",
        "A success was reported, but its proof did not pass the bank's check. "
        "We treat it as not approved.",
        "Start again. If this comes back, call the bank.",
    ),
}

NOT_REGISTERED = {
    "pin_not_set": Words(
        "Your card has no PIN yet",
        "A card is registered with its PIN. Nothing was done.",
        "Set a PIN in the bank's app first, then start again.",
    ),
    "already_registered": Words(
        "This card is registered already",
        "Nothing was done: it works as it is.",
        "Use it to sign in, or register another card.",
    ),
    "card_limit": Words(
        "You have too many cards",
        "No more cards can be registered for you. Nothing was done.",
        "Have a card removed that you no longer use, then start again.",
    ),
}
"""Only for registrations: the user is authenticated and has the card in hand."""
INDETERMINATE_REGISTRATION = Words(
    "Not confirmed",
    "We could not learn how this ended.",
    "The card may be registered: try to sign in first.",
)
NOT_ME_REGISTRATION = Words(
    "Reported on your phone",
    "The answer on the phone was “That was not me”. No card was registered, and the code of your "
    "letter is void.",
    "Call the bank: the letter may be in wrong hands. You get a new one.",
)
SUPERSEDED = Words(
    "No longer open",
    "Your card confirmed it, but this payment had been withdrawn before. Nothing was paid.",
)

SERVICE = ("upstream_unavailable", "upstream_full", "upstream_rejected")


def of(ceremony_type: str, status: str, reason: str | None) -> Words:
    """The text for any outcome; an unknown one is not a success."""
    if status == "succeeded":
        return DONE[ceremony_type]
    if status == "denied" and reason == "not_me" and ceremony_type == "registration":
        return NOT_ME_REGISTRATION
    if status == "denied":
        return ENDED["not_me" if reason == "not_me" else "declined"]
    if ceremony_type == "registration" and status in ("failed", "rejected"):
        if reason in NOT_REGISTERED:
            return NOT_REGISTERED[reason]
    if status == "rejected" and reason == "clone_suspected":
        return ENDED["clone_suspected"]
    if status == "failed":
        if reason in SERVICE:
            return ENDED["service"]
        return ENDED["wrong_code" if reason == "wrong_code" else "card"]
    if status == "indeterminate" and ceremony_type == "registration":
        return INDETERMINATE_REGISTRATION
    return ENDED.get(status, ENDED["indeterminate"])


TITLES = {
    "registration": "Register your card",
    "authentication": "Sign in with your card",
    "approval": "Approve the payment",
}

NOT_NOW = Words(
    "We cannot reach your phone right now",
    "The service between this page and your phone does not answer, so we cannot say yet what "
    "became of your request.",
    "Try again in a minute. The same form never counts twice.",
)
TOO_MANY = Words(
    "Too many requests at once",
    "More people than usual want in. Your phone was not asked.",
    "Wait {seconds} seconds, then try again.",
)
TOO_OFTEN = Words(
    "Too many tries",
    "This was tried too often within a minute. Your phone was not asked.",
    "Wait {seconds} seconds, then try again.",
)
NOT_TAKEN = Words(
    "That was not understood",
    "Something in what you entered cannot be used. Your phone was not asked.",
    "Go back, look it over, and try again.",
)
OURS = Words(
    "That did not work",
    "This is our fault, and we have noted it.",
    "Look at your payments before you try again.",
)
STALE = Words(
    "This page was too old",
    "You have signed in or out since it was opened, or it was open for long. Nothing was done.",
    "Go back to the start and do it again.",
)
NOT_FOUND = Words("There is nothing here", "The page does not exist, or it is not yours.")
