// Texts of refusals (RFC 9457) for error messages.

/** A problem's `detail` as the end of an error's message. */
export function withDetail(detail: string | undefined): string {
  return detail === undefined ? "" : ` (${detail})`;
}

/** A problem's `detail`, if it has one. */
export function detailOf(problem: { detail?: unknown }): string | undefined {
  return typeof problem.detail === "string" ? problem.detail : undefined;
}
