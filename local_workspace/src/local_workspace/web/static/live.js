// Keeps a page up to date without a jump: only what has changed is replaced. Also calls the API for buttons.
const main = document.getElementById("main");
const notice = document.getElementById("notice");
const LOST_SECONDS = 3;

function say(text) {
  notice.textContent = text;
  notice.hidden = !text;
}

// Puts the children of `news` into `box`; a child of the same id and version stays as it is.
function update(box, news) {
  for (const child of [...box.children]) if (!news.querySelector(`:scope > #${CSS.escape(child.id)}`)) child.remove();
  [...news.children].forEach((child, index) => {
    const old = document.getElementById(child.id);
    if (!old) return box.insertBefore(child, box.children[index] ?? null);
    if (old !== box.children[index]) box.insertBefore(old, box.children[index] ?? null);
    if (old.dataset.version !== child.dataset.version) replace(old, child);
  });
}

// What a reader has opened, scrolled to or chosen in the old piece is so in the new one.
function replace(old, child) {
  const opened = [...old.querySelectorAll("details")].map((box) => box.open);
  const scrolled = [...old.querySelectorAll("pre")].map((box) => [box.scrollTop, isAtEnd(box)]);
  const focused = [...old.querySelectorAll("a, button, summary, pre")].indexOf(document.activeElement);
  old.replaceWith(child);
  child.querySelectorAll("details").forEach((box, index) => { box.open = opened[index] ?? false; });
  child.querySelectorAll("pre").forEach((box, index) => {
    const [top, atEnd] = scrolled[index] ?? [0, false];
    box.scrollTop = atEnd ? box.scrollHeight : top;
  });
  if (focused >= 0) child.querySelectorAll("a, button, summary, pre")[focused]?.focus({ preventScroll: true });
}

function isAtEnd(box) {
  return box.scrollHeight > box.clientHeight && box.scrollTop + box.clientHeight > box.scrollHeight - 4;
}

async function refresh() {
  let wait = Number(main.dataset.refresh);
  try {
    if (!document.hidden) {
      const have = [...document.querySelectorAll("#live > [data-version]")].map((part) => part.dataset.version);
      const answer = await fetch(location.href, { headers: { Accept: "text/html", Have: have.join(",") } });
      if (answer.redirected && new URL(answer.url).pathname === "/login") return location.reload();
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        document.querySelectorAll("[data-live]").forEach((box) => {
          const news = page.getElementById(box.id);
          if (news) update(box, news);
        });
        document.title = page.title;
        main.dataset.refresh = page.getElementById("main").dataset.refresh;
        wait = Number(main.dataset.refresh);
        say("");
      }
    }
  } catch {
    say("The workspace does not answer. Trying again.");
    wait = LOST_SECONDS * 1000;
  }
  if (wait) setTimeout(refresh, wait);
}

async function call(path, body) {
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  const reply = await answer.json();
  if (!answer.ok) throw new Error(reply.message ?? `${path} answered ${answer.status}`);
  if (path.endsWith("/run-now")) location.href = `/runs/${reply.run_id}`;
}

async function act(button, path, body) {
  button.disabled = true;
  try {
    await call(path, body);
  } catch (error) {
    say(error.message);
    button.disabled = false;
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-call]");
  if (button) act(button, button.dataset.call, JSON.parse(button.dataset.body));
});

// Only what was changed is sent; what the job declares goes by its name for that, the rest to the notebooks.
document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-run]");
  if (!form) return;
  event.preventDefault();
  const declared = form.dataset.declared.split(" ");
  const body = { job_id: Number(form.dataset.run), job_parameters: {}, notebook_params: {} };
  for (const field of form.querySelectorAll("input")) {
    const kind = declared.includes(field.name) ? "job_parameters" : "notebook_params";
    if (field.value !== field.dataset.default) body[kind][field.name] = field.value;
  }
  act(form.querySelector("button"), "/api/2.2/jobs/run-now", body);
});

// A frame with HTML output says how high it is.
window.addEventListener("message", (event) => {
  for (const frame of document.querySelectorAll("iframe.html")) {
    if (frame.contentWindow === event.source) frame.style.height = `${Math.min(Number(event.data.height) || 0, 4000)}px`;
  }
});

if (main.dataset.refresh) setTimeout(refresh, Number(main.dataset.refresh));
