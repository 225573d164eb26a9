// Buys a pair of socks in the real storefront with a real Chromium, on a phone and on a desk.
//
// Usage: node storefront.mjs EDGE_URL SCREENSHOT_FOLDER, with CHROMIUM set to the browser. Prints one line of
// JSON per window: its width and the order's name. Fails on what a customer or their browser would object
// to: a script error, a violated content security policy, a request to anybody but the edge, a page wider
// than its window, HTML of a customer that is not shown as text, an order that is not paid in the end.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [edge, shots] = process.argv.slice(2);
const origin = new URL(edge).origin;
const PATIENCE = 30_000;
const WINDOWS = [{ width: 390, height: 844 }, { width: 1440, height: 900 }];
const NAME = `<img src="/nowhere" onerror="window.injected=1"><b>Ada</b> & "Co"`;
const CARD = { number: "4242 4242 4242 4242", expiry: "12/39", cvv: "123", holder: "Ada Lovelace" };
const ADDRESS = { Recipient: "Full name", Street: "Street and number", Postal: "Postal code", Town: "Town" };

/** Writes down everything in a page that must not happen. */
async function watch(page, complaints) {
  page.on("pageerror", (error) => complaints.push(`script error: ${error.stack}`));
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(`console: ${message.text()} (${page.url()})`);
  });
  page.on("request", (request) => {
    const { protocol, origin: asked } = new URL(request.url());
    if (protocol !== "data:" && asked !== origin) complaints.push(`asked ${request.url()}`);
  });
  page.on("response", (response) => {
    const headers = response.headers();
    if (!headers["content-type"]?.startsWith("text/html")) return;
    const policy = headers["content-security-policy"] ?? "";
    const strict = policy.includes("default-src") && !/unsafe-|\*/.test(policy);
    if (!strict) complaints.push(`policy of ${response.url()}: "${policy}"`);
  });
  await page.exposeFunction("reportViolation", (what) => complaints.push(`policy violated: ${what}`));
  await page.addInitScript(() => document.addEventListener("securitypolicyviolation", (event) =>
    window.reportViolation(`${event.violatedDirective} ${event.blockedURI} on ${location.href}`)));
}

/** Takes a picture, and checks that the page fits its window and nothing in the header touches. */
async function look(page, name) {
  const { width } = page.viewportSize();
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= width, `${name} is ${wide} px wide in a window of ${width} px`);
  const gaps = await page.locator(".bar > a").evaluateAll((links) => {
    const boxes = links.map((link) => link.getBoundingClientRect());
    return boxes.slice(1).map((box, index) => Math.round(box.left - boxes[index].right));
  });
  assert.ok(gaps.every((gap) => gap >= 10), `the header of ${name} has gaps of ${gaps} px in a window of ${width} px`);
  await page.screenshot({ path: join(shots, `${width}-${name}.png`), fullPage: true });
}

/** From the landing page to a product, by the links a customer sees. */
async function findSocks(page) {
  await page.goto(edge);
  await page.locator(".card:not(.ghost)").first().waitFor();
  await look(page, "1-landing");
  await page.keyboard.press("Tab");
  const skip = await page.evaluate(() => document.activeElement.getAttribute("href"));
  assert.equal(skip, "#main", "the first stop of the keyboard skips to the content");

  await page.getByRole("navigation").getByRole("link", { name: "Socks" }).click();
  const first = page.locator("#products .card:not(.ghost)").first();
  await first.waitFor();
  assert.ok(await page.locator("#categories input[type=radio]").count() > 2, "there are categories");
  await page.waitForFunction(() => document.querySelector("#products img")?.naturalWidth > 0);
  await look(page, "2-catalogue");
  await first.getByRole("link").click();
}

/** Puts a pair into the cart with the keyboard alone, and goes on to the checkout. */
async function fillCart(page) {
  const add = page.getByRole("button", { name: "Add to cart" });
  await add.waitFor();
  await look(page, "3-product");
  await add.focus();
  await page.keyboard.press("Enter");
  await page.getByRole("link", { name: "Go to the cart" }).click();
  await page.locator("li.line").waitFor();
  await look(page, "4-cart");
  await page.getByRole("link", { name: "Checkout" }).click();
}

/** Registers a customer whose name is HTML; it must be shown as what was typed. */
async function register(page) {
  await page.getByRole("button", { name: "Make an account" }).click();
  await page.getByLabel("Your name").fill(NAME);
  await page.locator("#register").getByLabel("E-mail").fill(`ada-${randomUUID()}@example.com`);
  await page.getByLabel("Password").fill("correct-horse-battery");
  await page.getByRole("button", { name: "Make the account" }).click();
  await page.locator("#order").waitFor({ state: "visible" });
  await assertEscaped(page, page.locator("#who"));
}

async function assertEscaped(page, place) {
  assert.ok((await place.innerText()).includes(NAME), "the name is shown as it was typed");
  assert.equal(await page.locator("img[src='/nowhere']").count(), 0, "the name became an element");
  assert.equal(await page.evaluate(() => window.injected), undefined, "the name ran as a script");
}

/** Fills in the rest of the checkout and places the order. Returns its name. */
async function order(page) {
  await page.getByLabel(ADDRESS.Recipient).fill(CARD.holder);
  await page.getByLabel(ADDRESS.Street).fill("12 St James's Square");
  await page.getByLabel(ADDRESS.Postal).fill("SW1Y 4JH");
  await page.getByLabel(ADDRESS.Town).fill("London");
  // Before the card is typed: no file may show it.
  await look(page, "5-checkout");
  await page.getByLabel("Card number").fill(CARD.number);
  await page.getByLabel("Valid until").fill(CARD.expiry);
  await page.getByLabel("Security code").fill(CARD.cvv);
  await page.getByLabel("Name on the card").fill(CARD.holder);
  await page.getByRole("button", { name: "Place the order" }).click();
  await page.waitForURL("**/order?name=*");
  await page.locator("#state[data-state=ORDER_STATE_PAID]").waitFor();
  await look(page, "6-order");
  const kept = await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }));
  assert.ok(!kept.includes("4242424242424242") && !kept.includes(CARD.number), "the browser kept the card");
  return new URL(page.url()).searchParams.get("name");
}

/** The account greets by the name as typed and lists the order. */
async function seeAccount(page) {
  await page.getByRole("link", { name: "Account" }).click();
  await page.locator("a.entry").first().waitFor();
  await assertEscaped(page, page.locator("#hello"));
  await look(page, "7-account");
}

async function buy(browser, viewport) {
  const context = await browser.newContext({ viewport, locale: "en-GB", reducedMotion: "reduce" });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  const complaints = [];
  await watch(page, complaints);
  let name = "";
  try {
    await findSocks(page);
    await fillCart(page);
    await register(page);
    name = await order(page);
    await seeAccount(page);
  } catch (error) {
    await page.screenshot({ path: join(shots, `${viewport.width}-failed.png`), fullPage: true }).catch(() => {});
    const seen = await page.locator("main").innerText().catch(() => "");
    const where = `${viewport.width} px, ${page.url()}`;
    throw new Error(`${where}\n${complaints.join("\n")}\nthe page says: ${seen}`, { cause: error });
  }
  assert.deepEqual(complaints, [], `${viewport.width} px`);
  console.log(JSON.stringify({ width: viewport.width, order: name }));
  await context.close();
}

mkdirSync(shots, { recursive: true });
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  // As root, as in CI, Chromium has no sandbox; and it is to ask nobody but the edge.
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
  ],
});
try {
  for (const viewport of WINDOWS) await buy(browser, viewport);
} finally {
  await browser.close();
}
