// What pages can do beyond links and forms: copy, keep times fresh, check a form as
// one types, and show rows as they come. Every page works without it.
"use strict";
(() => {
  // A thin bar, when a page takes longer than a moment.
  const bar = document.querySelector(".progress");
  addEventListener("beforeunload", () => setTimeout(() => { if (bar) bar.hidden = false; }, 200));
  addEventListener("pageshow", () => { if (bar) bar.hidden = true; });

  // Times: relative, in the words of the server, and local on hover.
  const span = (s) => s < 90 ? `${Math.floor(s)} s` : s < 5400 ? `${Math.floor(s / 60)} min` : s < 172800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} d`;
  const tick = (root) => {
    for (const t of root.querySelectorAll("time[datetime]")) {
      const at = new Date(t.dateTime), s = (Date.now() - at) / 1000;
      t.textContent = s < 0 ? `in ${span(-s)}` : s < 1 ? "now" : `${span(s)} ago`;
      if (!t.dataset.local) {
        t.dataset.local = "1";
        t.title = `${at.toLocaleString()} (${t.title})`;
      }
    }
  };
  tick(document);
  setInterval(() => tick(document), 10000);

  // Copying.
  for (const b of document.querySelectorAll("[data-copy]")) {
    if (!navigator.clipboard) continue;
    b.hidden = false;
    b.addEventListener("click", async () => {
      await navigator.clipboard.writeText(b.dataset.copy);
      const was = b.textContent;
      b.textContent = "Copied";
      setTimeout(() => { b.textContent = was; }, 1500);
    });
  }

  // A choice that is made is sent.
  for (const s of document.querySelectorAll("select[data-submit]")) s.addEventListener("change", () => s.form.requestSubmit());

  // A form with data-check is checked by the server as one types: its answer says by
  // field what is wrong, and fills the preview.
  for (const form of document.querySelectorAll("form[data-check]")) {
    let timer, last;
    const touched = new Set();
    const check = async () => {
      const mine = last = new AbortController();
      try {
        const res = await fetch(form.dataset.check, { method: "POST", body: new URLSearchParams(new FormData(form)), signal: mine.signal });
        if (!res.ok || mine !== last) return;
        const { wrong, preview } = await res.json();
        for (const out of form.querySelectorAll("[data-wrong]")) {
          const field = out.dataset.wrong, text = touched.has(field) ? wrong[field] || "" : "";
          out.textContent = text;
          for (const el of form.querySelectorAll(`[name="${field}"]`)) text ? el.setAttribute("aria-invalid", "true") : el.removeAttribute("aria-invalid");
        }
        const shown = document.querySelector("[data-preview]");
        if (shown && preview !== undefined) { shown.innerHTML = preview; tick(shown); }
      } catch (e) { if (e.name !== "AbortError") throw e; }
    };
    const later = (e) => {
      if (e.target.name) touched.add(e.target.name);
      if (last) last.abort();
      clearTimeout(timer);
      timer = setTimeout(check, 250);
    };
    form.addEventListener("input", later);
    form.addEventListener("focusout", later);
    check();
  }

  // Rows that come: an element with data-tail is a table's body that is fed by events
  // of the server, each a row. While someone has paused it, they are counted.
  const body = document.querySelector("[data-tail]");
  if (body && window.EventSource) {
    const button = document.querySelector("[data-pause]");
    const most = 500;
    let held = null;
    const show = (html) => {
      const t = document.createElement("template");
      t.innerHTML = html;
      const row = t.content.firstElementChild;
      if (!row) return;
      row.classList.add("new");
      const old = row.id && document.getElementById(row.id);
      if (old) { old.replaceWith(row); tick(row); return; }
      const y = scrollY, before = document.documentElement.scrollHeight;
      body.prepend(row);
      tick(row);
      while (body.children.length > most) body.lastElementChild.remove();
      if (y > body.getBoundingClientRect().top + y) scrollTo(scrollX, y + document.documentElement.scrollHeight - before); // what one reads stays
      for (const e of document.querySelectorAll("[data-until-row]")) e.remove();
    };
    const label = () => { button.textContent = held === null ? "Hold new rows" : held.length ? `Show new rows (${held.length})` : "Show new rows"; button.setAttribute("aria-pressed", String(held !== null)); };
    const source = new EventSource(body.dataset.tail);
    source.addEventListener("row", (e) => { if (held === null) show(e.data); else { held.push(e.data); if (held.length > most) held.shift(); label(); } });
    source.addEventListener("part", (e) => { // another part of the page, which names itself
      const t = document.createElement("template");
      t.innerHTML = e.data;
      const part = t.content.firstElementChild, old = part && document.getElementById(part.id);
      if (old && !old.contains(document.activeElement)) { old.replaceWith(part); tick(part); }
    });
    source.addEventListener("end", () => source.close());
    if (button) {
      button.hidden = false;
      label();
      button.addEventListener("click", () => {
        if (held === null) held = []; else { const rows = held; held = null; rows.forEach(show); }
        label();
      });
    }
  }
})();
