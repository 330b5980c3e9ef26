// Runs before the first paint, so that a chosen theme never flashes the other one. A file of its own: the policy allows no inline script.
try {
  const theme = localStorage.getItem("freshet.theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is refused in some private windows; the system's theme is fine then.
}
