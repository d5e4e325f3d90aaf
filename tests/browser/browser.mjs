// Starts Debian's Chromium and finds the pages worth visiting.
import { chromium } from "playwright-core";

export const openBrowser = () => chromium.launch({
  executablePath: process.env.BURROW_CHROMIUM || "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

const json = async address => (await fetch(address)).json();

/** Names and paths of one page of each sort. */
export async function pagesOf(base) {
  const one = async state => (await json(`${base}/api/v1/builds?state=${state}&limit=2`)).items;
  const failed = await one("failed_test"), broken = await one("failed_build"), running = await one("running"), queued = await one("queued"), passed = await one("passed");
  const line = failed[1] ?? failed[0] ?? passed[0];
  const repos = await json(`${base}/api/v1/repos`);
  const grid = (repo, branch) => `/p/${repos.find(known => known.name === repo).project}/${repo}/${branch}`;
  const bare = repos.find(known => known.error);
  return {
    overview: "/",
    grid: grid(line.repo, line.branch),
    "grid-red": grid(line.repo, line.branch) + "?state=red",
    ...(bare && { empty: grid(bare.name, bare.main_branch) }),
    commit: `/c/${line.repo}/${line.hash}`,
    "build-failed": `/build/${line.id}`,
    ...(failed[0] && { "build-big": `/build/${failed[0].id}` }),
    ...(broken[0] && { "build-broken": `/build/${broken[0].id}` }),
    ...(running[0] && { "build-running": `/build/${running[0].id}` }),
    ...(queued[0] && { "build-queued": `/build/${queued[0].id}` }),
    ...(passed[0] && { "build-passed": `/build/${passed[0].id}` }),
    lines: `/build/${line.id}/log?from=10&to=30`,
    queue: "/queue",
    machines: "/machines",
    builders: "/builders",
    builder: `/builder/${line.builder}`,
    missing: "/no/such/page",
    login: "/login",
  };
}
