// The demo bank's page: its buttons, and what happens when it is opened.

import { $ } from "./dom.js";
import * as bank from "./bank.js";
import * as ceremony from "./ceremony.js";
import { copy } from "./code.js";
import * as overview from "./overview.js";

async function signOut() {
  await ceremony.abandon();
  try {
    await bank.signOut();
    await overview.changed();
    overview.notice("You are signed out", "Close the page if others use this machine.");
    $("choose-title").focus();
  } catch (error) {
    overview.problem(error.words ?? bank.UNREACHABLE);
  }
}

async function back() {
  ceremony.leave();
  $("choose-title").focus();
  await overview.refresh().catch((error) => overview.problem(error.words ?? bank.UNREACHABLE));
}

for (const button of document.querySelectorAll("[data-action]")) {
  button.addEventListener("click", () => ceremony.start(button.dataset.action, button));
}
$("copy").addEventListener("click", copy);
$("cancel").addEventListener("click", ceremony.cancel);
$("restart").addEventListener("click", ceremony.restart);
$("again").addEventListener("click", ceremony.again);
$("back").addEventListener("click", back);
$("sign-out").addEventListener("click", signOut);

addEventListener("pagehide", ceremony.left);
// A page that the browser has kept whole shows what was: what is, the bank can tell.
addEventListener("pageshow", ({ persisted }) => persisted && location.reload());

$("without-script").remove();
overview
  .refresh()
  .catch((error) => {
    $("signed-out").hidden = false;
    overview.problem(error.words ?? bank.UNREACHABLE);
  })
  .then(ceremony.resume);
