// Takes pictures of every page, in two widths and both colours: `node look.mjs http://127.0.0.1:8090 FOLDER`.
import { mkdirSync } from "node:fs";
import { openBrowser, pagesOf } from "./browser.mjs";

const [base, folder] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
const browser = await openBrowser();
for (const [width, height, phone] of [[1280, 860, false], [390, 844, true]]) {
  for (const colorScheme of ["light", "dark"]) {
    const context = await browser.newContext({ viewport: { width, height }, colorScheme, isMobile: phone, hasTouch: phone });
    const page = await context.newPage();
    for (const [name, path] of Object.entries(await pagesOf(base))) {
      await page.goto(base + path, { waitUntil: "load" });
      await page.screenshot({ path: `${folder}/${name}-${phone ? "phone" : "desktop"}-${colorScheme}.png`, fullPage: name !== "build-big" });
    }
    await context.close();
  }
}
await browser.close();
