// The pages in a real browser: the way a person takes through them, on a desk and on a phone, light and dark, with and without script.
//
// Runs against a server of its own (`cargo build -p burrow-coordinator --example demo` first), or against BURROW_URL.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { openBrowser, pagesOf } from "./browser.mjs";

let base, server, browser;

before(async () => {
  if (process.env.BURROW_URL) {
    base = process.env.BURROW_URL.replace(/\/$/, "");
  } else {
    const folder = process.env.BURROW_TEST_EXECUTABLES || fileURLToPath(new URL("../../target/debug", import.meta.url));
    const program = `${folder}/examples/demo`;
    server = spawn(program, ["0"], { stdio: ["ignore", "pipe", "ignore"] });
    const lines = createInterface({ input: server.stdout });
    const [line] = await Promise.race([once(lines, "line"), once(server, "error").then(([error]) => { throw error; }), once(server, "exit").then(() => { throw new Error(`${program} ended`); })]);
    base = line.trim().replace(/\/$/, "");
  }
  browser = await openBrowser();
});

after(async () => {
  await browser?.close();
  if (server && server.exitCode === null) {
    server.kill();
    await once(server, "exit");
  }
});

/** A page that fails the test when anything complains. */
async function visitor(options) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(15_000);
  const page = await context.newPage();
  const complaints = [];
  page.on("pageerror", error => complaints.push(`${page.url()}: ${error}`));
  page.on("console", message => { if (["error", "warning"].includes(message.type())) complaints.push(`${page.url()}: ${message.text()}`); });
  return { context, page, complaints };
}

const desk = { viewport: { width: 1280, height: 860 } };
const phone = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true };

/** Overview, grid, cell, build, log line, retry, cancel: the same way with and without script. */
async function walk(page) {
  await page.goto(base + "/");
  await page.locator(".tile:has(.strip a.ft, .strip a.fb) h3 a").first().click();
  await page.waitForURL(/\/p\/[^/]+\/[^/]+\//);
  await page.locator("#grid td.ft a, #grid td.fb a").first().click();
  await page.waitForURL(/\/build\/\d+$/);
  const failed = page.url();
  assert.match(await page.locator("h2", { hasText: "What failed" }).innerText(), /What failed/);
  await page.locator(".fails a[href^='#L']").first().click();
  await page.waitForURL(/#L\d+$/);
  const line = new URL(page.url()).hash.slice(1);
  assert.ok(await page.locator("#" + line).isVisible(), "the line that the failure names is on the page");
  await page.locator("#retry").click();
  await page.waitForURL(address => /\/build\/\d+$/.test(address.pathname) && address.href !== failed);
  const retried = page.url();
  if (!process.env.BURROW_URL) assert.match(await page.locator(".headline .st").innerText(), /queued|running/);
  // A real farm may be done before anybody can press the button.
  if (!process.env.BURROW_URL) {
    await page.locator("#cancel").click();
    await page.locator(".headline .st", { hasText: "cancelled" }).waitFor();
  }
  assert.equal(page.url(), retried);
  await page.goto(failed);
  assert.ok(await page.locator(`.notice a[href="${new URL(retried).pathname}"]`).isVisible(), "the old build leads to the new one");
}

for (const [name, device] of [["desk", desk], ["phone", phone]]) {
  for (const colorScheme of ["light", "dark"]) {
    test(`every page stands on a ${name}, ${colorScheme}`, async () => {
      const { context, page, complaints } = await visitor({ ...device, colorScheme });
      for (const [what, path] of Object.entries(await pagesOf(base))) {
        await page.goto(base + path);
        const { wide, background } = await page.evaluate(() => ({
          wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
          background: getComputedStyle(document.body).backgroundColor,
        }));
        assert.ok(wide <= 1, `${what} is ${wide} px wider than the window`);
        const dark = background.match(/\d+/g).slice(0, 3).every(channel => Number(channel) < 80);
        assert.equal(dark, colorScheme === "dark", `${what} has background ${background}`);
      }
      // The one page that does not exist is the one complaint that a browser makes by itself.
      assert.deepEqual(complaints.filter(text => !text.includes("/no/such/page")), []);
      await context.close();
    });
  }

  test(`a person's way through the pages on a ${name}`, async () => {
    const { context, page, complaints } = await visitor(device);
    await walk(page);
    assert.deepEqual(complaints, []);
    await context.close();
  });

  test(`the same way with script turned off on a ${name}`, async () => {
    const { context, page } = await visitor({ ...device, javaScriptEnabled: false });
    await walk(page);
    await context.close();
  });
}

test("the grid follows what happens without a reload", async () => {
  const { context, page, complaints } = await visitor(desk);
  await page.goto(base + (await pagesOf(base)).grid);
  await page.locator("#live[data-on=yes]").waitFor();
  await page.evaluate(() => { window.kept = true; });
  const failed = await page.locator("#grid td.ft a").last().getAttribute("href");
  const cell = await page.locator(`#grid td:has(a[href="${failed}"])`).elementHandle();
  await context.request.post(`${base}${failed}/retry`);
  await page.waitForFunction(cell => !cell.classList.contains("ft"), cell);
  assert.match(await cell.evaluate(cell => cell.className), /\b(q|run|p)\b/);
  assert.ok(await page.evaluate(() => window.kept), "the page was not loaded again");
  assert.deepEqual(complaints, []);
  await context.close();
});

test("a running build's log grows, and a range of lines can be marked", { skip: process.env.BURROW_URL ? "needs a build that talks for long" : false }, async () => {
  const { context, page, complaints } = await visitor(desk);
  const paths = await pagesOf(base);
  assert.ok(paths["build-running"], "nothing is running");
  await page.goto(base + paths["build-running"]);
  const before = await page.locator("#log > div").count();
  await page.waitForFunction(before => document.querySelectorAll("#log > div").length > before, before);
  const numbers = await page.locator("#log > div").evaluateAll(lines => lines.map(line => line.id));
  assert.deepEqual(numbers, numbers.map((_, at) => `L${at + 1}`), "lines are numbered on");
  await page.locator("#L5 > a").click();
  await page.locator("#L9 > a").click({ modifiers: ["Shift"] });
  assert.equal(new URL(page.url()).hash, "#L5-L9");
  assert.equal(await page.locator(".log .hl").count(), 5);
  assert.deepEqual(complaints, []);
  await context.close();
});

test("the colour switch is kept", async () => {
  const { context, page, complaints } = await visitor({ ...desk, colorScheme: "light" });
  await page.goto(base + "/");
  await page.locator("#theme").click();
  await page.goto(base + "/queue");
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
  assert.deepEqual(complaints, []);
  await context.close();
});

test("the keyboard reaches the content and the cells", async () => {
  const { context, page } = await visitor(desk);
  await page.goto(base + (await pagesOf(base)).grid);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await page.locator("#grid td a").first().focus();
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.notEqual(outline, "none");
  await context.close();
});
