// SPDX-License-Identifier: BSD-3-Clause
// A server of the obvious kind, for the bench: a Set of responses for each environment.
// Usage: node server.js PORT
'use strict';
const http = require('http');

const environments = new Map();
const head = {
  'Content-Type': 'text/event-stream',
  'Cache-Control': 'no-cache, no-transform',
  'X-Accel-Buffering': 'no',
  'Connection': 'close',
  'Access-Control-Allow-Origin': '*',
  'Access-Control-Expose-Headers': 'Retry-After',
};

function subscribe(key, response) {
  let streams = environments.get(key);
  if (!streams) {
    environments.set(key, streams = new Set());
  }
  streams.add(response);
  response.on('close', () => streams.delete(response));
  response.writeHead(200, head);
  response.write(': flagsse\nretry: 3000\n\n');
}

function publish(key, body, response) {
  const id = body.replace(/[^0-9]/g, '');
  const event = `id: ${id}\nevent: environment_updated\ndata: ${body}\n\n`;
  for (const stream of environments.get(key) || []) {
    stream.write(event);
  }
  response.end('{"status":"published"}');
}

http.createServer((request, response) => {
  const key = request.url.split('/')[3];
  if (request.method === 'GET') {
    subscribe(key, response);
    return;
  }
  let body = '';
  request.on('data', (piece) => body += piece);
  request.on('end', () => publish(key, body, response));
}).listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4096 });
