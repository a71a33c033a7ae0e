// The ceremony that this tab waits for, kept over a reload of the page: by the tab alone, and only
// until its end is known. Its code and its ticket are of no use after that.

const NAME = "ceremony";

/** Where a browser allows no storage, a reload starts over. */
function store(act) {
  try {
    return act(sessionStorage);
  } catch {
    return null;
  }
}

export const keep = (ceremony) => store((kept) => kept.setItem(NAME, JSON.stringify(ceremony)));

export const forget = () => store((kept) => kept.removeItem(NAME));

/** What was kept, or null. */
export const kept = () => store((kept) => JSON.parse(kept.getItem(NAME)));
