// SPDX-License-Identifier: BSD-3-Clause
// Drives Chromium for browser.py: takes a line of JSON, does it, answers with a line of JSON; ends with its input.
//   driver.mjs CHROMIUM DIRECTORY-OF-NODE-MODULES
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const [executablePath, modules] = process.argv.slice(2);
const { chromium } = createRequire(`${modules}/`)('playwright-core');

const browser = await chromium.launch({
	executablePath,
	args: [
		'--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--no-proxy-server',
		'--disable-background-networking', '--disable-component-update', '--disable-sync',
	],
});
const context = await browser.newContext({ ignoreHTTPSErrors: true });
const page = await context.newPage();
page.on('console', (message) => console.error(`console: ${message.text()}`));
page.on('pageerror', (error) => console.error(`error: ${error}`));

// What went over the wire, preflights too, which Playwright itself does not show.
const requests = new Map();
const note = (id, more) => requests.set(id, { ...requests.get(id), ...more });
const network = await context.newCDPSession(page);
network.on('Network.requestWillBeSent', ({ requestId, type, request }) =>
	note(requestId, { type, url: request.url, method: request.method }));
network.on('Network.requestWillBeSentExtraInfo', ({ requestId, headers }) => note(requestId, { headers }));
await network.send('Network.enable');

const commands = {
	open: (url) => page.goto(url).then(() => true),
	call: (name, ...values) => page.evaluate(([name, values]) => window[name](...values), [name, values]),
	requests: () => [...requests.values()],
};

for await (const line of createInterface({ input: process.stdin })) {
	const [name, ...values] = JSON.parse(line);
	let answer;
	try {
		answer = { value: (await commands[name](...values)) ?? null };
	} catch (error) {
		answer = { error: `${error}` };
	}
	process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
