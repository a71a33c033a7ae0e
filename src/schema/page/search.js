{
  const [search, query, count, found] = ["search", "query", "count", "found"].map((id) =>
    document.getElementById(id),
  );
  const places = [...document.querySelectorAll("article[id], .message[id], tr[id]")];
  const texts = places.map((place) => place.textContent.toLowerCase());
  const entry = (place) => {
    const [name, about] = ["h3, h5, th", ".summary, p, td"].map((css) => place.querySelector(css));
    const channel = place.matches(".message") ? `${place.closest("article").querySelector("h3").textContent}: ` : "";
    const link = document.createElement("a");
    link.href = `#${place.id}`;
    link.textContent = channel + name.textContent;
    const item = document.createElement("li");
    item.append(link, ` ${about?.textContent ?? ""}`);
    return item;
  };
  query.addEventListener("input", () => {
    const words = query.value.toLowerCase().match(/\S+/g) ?? [];
    const hits = places.filter((_, n) => words.length && words.every((word) => texts[n].includes(word)));
    // The message, rather than the whole channel that it belongs to.
    const exact = hits.filter((hit) => !hits.some((other) => other !== hit && hit.contains(other)));
    found.replaceChildren(...exact.map(entry));
    count.textContent = words.length ? `${exact.length} found` : "";
  });
  search.hidden = false;
}
