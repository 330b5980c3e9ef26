// One line a test, the errors below it, and a last line that a script can count: `12 passed, 0 failed, 1 skipped`.
export default async function* report(events) {
  let passed = 0;
  let failed = 0;
  let skipped = 0;
  for await (const { type, data } of events) {
    if (type === "test:stdout" || type === "test:stderr") yield data.message;
    if ((type !== "test:pass" && type !== "test:fail") || data.details?.type === "suite" || /\.spec\.mjs$/.test(data.name)) {
      if (type === "test:fail" && /\.spec\.mjs$/.test(data.name) && data.details?.error?.failureType !== "subtestsFailed") {
        failed += 1;
        yield `✖ ${data.name}: ${data.details?.error?.cause?.stack ?? data.details?.error?.message}\n`;
      }
      continue;
    }
    const time = `${Math.round(data.details.duration_ms)} ms`;
    if (data.skip !== undefined) {
      skipped += 1;
      yield `- ${data.name} (skipped: ${data.skip})\n`;
    } else if (type === "test:pass") {
      passed += 1;
      yield `✓ ${data.name} (${time})\n`;
    } else {
      failed += 1;
      const cause = data.details.error?.cause ?? data.details.error;
      yield `✖ ${data.name} (${time})\n${String(cause?.stack ?? cause).replace(/^/gm, "    ")}\n`;
    }
  }
  yield `\n${passed} passed, ${failed} failed, ${skipped} skipped\n`;
}
