// Makes pages live and comfortable. Everything on them works without it.
(() => {
  "use strict";
  const doc = document, root = doc.documentElement;
  root.classList.add("js");
  try { const kept = localStorage.getItem("theme"); if (kept) root.dataset.theme = kept; } catch { /* storage may be off */ }

  const ago = ms => {
    const s = Math.floor(Math.abs(ms) / 1000);
    if (s < 10) return "just now";
    const text = s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)} min` : s < 172800 ? `${Math.floor(s / 3600)} h`
      : s < 5184000 ? `${Math.floor(s / 86400)} d` : s < 63072000 ? `${Math.floor(s / 2592000)} months` : `${Math.floor(s / 31536000)} years`;
    return ms < 0 ? `in ${text}` : `${text} ago`;
  };
  const span = ms => {
    const s = Math.max(0, Math.floor(ms / 1000));
    return s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`;
  };
  const tick = () => {
    const now = Date.now();
    for (const el of doc.querySelectorAll("time[data-ago]")) { const t = ago(now - Date.parse(el.dateTime)); if (el.textContent !== t) el.textContent = t; }
    for (const el of doc.querySelectorAll("[data-since]")) el.textContent = span(now - el.dataset.since);
  };

  // --- fresh parts: the page is fetched again and what differs is put in place -------------------------------------------------
  let busy = false, again = false, last = 0, timer = 0;
  const refresh = async () => {
    if (busy) { again = true; return; }
    busy = true; last = Date.now();
    try {
      const answer = await fetch(location.pathname + location.search, { headers: { accept: "text/html" } });
      if (answer.ok) {
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        for (const el of fresh.querySelectorAll("[data-live]")) {
          const old = doc.getElementById(el.id);
          if (!old || old.innerHTML === el.innerHTML) continue;
          for (const open of old.querySelectorAll("details[open][id]")) el.querySelector(`#${CSS.escape(open.id)}`)?.setAttribute("open", "");
          const focus = old.contains(doc.activeElement) && doc.activeElement;
          if (focus && /INPUT|SELECT/.test(focus.tagName)) continue;
          const href = focus && focus.getAttribute("href");
          old.replaceWith(doc.adoptNode(el));
          if (href) el.querySelector(`[href="${CSS.escape(href)}"]`)?.focus({ preventScroll: true });
        }
        doc.title = fresh.title;
        tick();
        arrangeTail();
      }
    } catch { /* the event stream says when the server is back */ }
    busy = false;
    if (again) { again = false; soon(); }
  };
  // At most one fetch a second, however much happens.
  const soon = () => { if (!timer) timer = setTimeout(() => { timer = 0; refresh(); }, Math.max(150, last + 1000 - Date.now())); };

  const patch = change => {
    const row = doc.getElementById("r" + change.hash);
    const head = row && doc.querySelector(`#grid th[data-b="${CSS.escape(change.builder)}"]`);
    if (!head) return false;
    const cell = row.cells[1 + [...head.parentNode.children].indexOf(head)];
    if (!cell) return false;
    cell.className = change.class + (cell.classList.contains("edge") ? " edge" : "");
    const link = doc.createElement("a");
    link.href = "/build/" + change.build;
    link.textContent = change.word;
    cell.replaceChildren(link);
    return true;
  };

  // --- the event stream -----------------------------------------------------------------------------------------------------------
  let source = null, seen = 0;
  const status = (on, text) => { const el = doc.getElementById("live"); if (el) { el.dataset.on = on; el.textContent = text; } };
  const listen = () => {
    const address = doc.body.dataset.events;
    if (!address || source || doc.hidden) return;
    source = new EventSource(address + (address.includes("?") ? "&" : "?") + "since=" + (seen || doc.body.dataset.generation));
    source.onopen = () => status("yes", "live");
    source.onerror = () => { status("no", "connecting…"); if (source && source.readyState === 2) { source = null; setTimeout(listen, 3000); } };
    source.addEventListener("change", event => {
      seen = event.lastEventId || seen;
      const change = JSON.parse(event.data);
      if (!(change.kind === "build" && doc.getElementById("grid") && patch(change))) soon();
    });
    source.addEventListener("reset", event => { seen = event.lastEventId || seen; soon(); });
  };
  // A browser allows few connections per server: a page that nobody sees gives its one back.
  const pause = () => { if (source) { source.close(); source = null; } if (tail) { tail.close(); tail = null; } };

  // --- the log: ranges, the growing end -------------------------------------------------------------------------------------------
  const mark = () => {
    for (const el of doc.querySelectorAll(".log .hl")) el.classList.remove("hl");
    const range = /^#L(\d+)(?:-L?(\d+))?$/.exec(location.hash);
    if (!range) return;
    const from = +range[1], to = Math.min(+(range[2] || from), from + 5000);
    for (let n = Math.min(from, to); n <= Math.max(from, to); n++) doc.getElementById("L" + n)?.classList.add("hl");
    if (range[2]) doc.getElementById("L" + from)?.scrollIntoView({ block: "center" });
  };
  const pick = event => {
    const link = event.target.closest(".log div > a");
    if (!link || !event.shiftKey) return;
    const start = /^#L(\d+)/.exec(location.hash), end = /^#L(\d+)/.exec(link.hash);
    if (!start || !end) return;
    event.preventDefault();
    const ends = [+start[1], +end[1]].sort((a, b) => a - b);
    history.replaceState(null, "", `#L${ends[0]}-L${ends[1]}`);
    mark();
  };
  let tail = null;
  const arrangeTail = () => {
    const log = doc.getElementById("log"), follow = doc.getElementById("follow");
    if (!log || !follow || !log.dataset.tail || tail || doc.hidden) return;
    tail = new EventSource(log.dataset.tail);
    tail.addEventListener("lines", event => {
      const near = innerHeight + scrollY > doc.body.scrollHeight - 160;
      let n = +log.dataset.next;
      const part = new DOMParser().parseFromString(event.data, "text/html").body;
      const list = doc.createDocumentFragment();
      for (const line of [...part.children]) {
        const link = line.querySelector("a");
        line.id = "L" + n; link.dataset.n = n; link.href = "#L" + n; n++;
        list.append(line);
      }
      log.append(list);
      log.dataset.next = n;
      log.dataset.tail = log.dataset.tail.replace(/offset=\d+/, "offset=" + event.lastEventId);
      while (log.children.length > 6000) log.firstElementChild.remove();
      if (near && follow.checked) scrollTo({ top: doc.body.scrollHeight, behavior: "instant" });
    });
    tail.addEventListener("end", () => { tail.close(); log.removeAttribute("data-tail"); soon(); });
  };

  // --- comfort -------------------------------------------------------------------------------------------------------------------
  const hint = event => {
    const cell = event.target.closest && event.target.closest("#grid td");
    if (!cell || cell.title) return;
    const heads = doc.querySelectorAll("#grid th[data-b]"), row = cell.parentNode;
    const head = heads[cell.cellIndex - 1], title = row.querySelector(".t");
    if (head) cell.title = `${head.dataset.b}\n${title ? title.textContent : ""}\n${cell.textContent || "not built"}`;
  };
  const ready = () => {
    tick(); setInterval(tick, 5000);
    const theme = doc.getElementById("theme");
    theme?.addEventListener("click", () => {
      const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
      try { localStorage.setItem("theme", root.dataset.theme); } catch { /* storage may be off */ }
    });
    for (const el of doc.querySelectorAll("select[data-go]")) el.addEventListener("change", () => { if (el.value) location.href = el.value; });
    doc.addEventListener("mouseover", hint);
    doc.addEventListener("click", pick);
    addEventListener("hashchange", mark);
    doc.addEventListener("visibilitychange", () => { if (doc.hidden) pause(); else { listen(); arrangeTail(); } });
    addEventListener("pagehide", pause);
    mark(); listen(); arrangeTail();
  };
  if (doc.readyState === "loading") doc.addEventListener("DOMContentLoaded", ready); else ready();
})();
