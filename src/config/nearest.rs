//! Suggests a known name for an unknown one.

/// Least similarity (0 to 1) of a suggestion.
const MIN_SIMILARITY: f64 = 0.65;

/// The most similar of the known names, if one is similar enough.
pub(super) fn nearest<'a>(
    given: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let likeness = |name: &str| strsim::normalized_damerau_levenshtein(given, name);
    let alike = known.into_iter().map(|name| (likeness(name), name));
    let alike = alike.filter(|(likeness, _)| *likeness >= MIN_SIMILARITY);
    alike.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

/// The known key that is most similar. One underscore where a variable needs two, and a key
/// without its table, are common and look little alike.
pub(super) fn nearest_key<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let flat = |key: &str| key.replace('.', "_");
    let the_only = |mut found: Vec<&'a str>| found.pop().filter(|_| found.is_empty());
    let by = |is_it: &dyn Fn(&str) -> bool| {
        the_only(known.iter().copied().filter(|key| is_it(key)).collect())
    };
    by(&|key| flat(key) == flat(given))
        .or_else(|| nearest(given, known.iter().copied()))
        .or_else(|| by(&|key| key.rsplit('.').next() == Some(given)))
}
