// Keeps the page of a run up to date while the run is active.
const live = document.getElementById("live");
const isActive = () => live.querySelector("[data-active]").dataset.active === "yes";

async function refresh() {
  const answer = await fetch(live.dataset.url, { headers: { Accept: "text/html" } });
  if (answer.ok) {
    const open = [...live.querySelectorAll("details")].map((box) => box.open);
    live.innerHTML = await answer.text();
    live.querySelectorAll("details").forEach((box, index) => { box.open = open[index] ?? false; });
  }
  if (isActive()) setTimeout(refresh, 1000);
}

if (isActive()) setTimeout(refresh, 1000);
