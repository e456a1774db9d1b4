// Light, dark, or as the system has it: set before anything is drawn.
{
  const known = ["auto", "light", "dark"];
  let theme = "auto";
  try { theme = localStorage.getItem("bucketline-theme") ?? "auto"; } catch { /* storage is off: as the system has it */ }
  document.documentElement.dataset.theme = known.includes(theme) ? theme : "auto";
}
