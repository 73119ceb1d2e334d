// oauth2-mock-server, with secrets that are checked, faults, and an API that its tokens open.
//
//   node oauth2_mock.mjs SERVERS PORT
//
// POST /control sets any of {secrets, code, status, answer, fault, revoke}; GET /control tells what was asked.

import { createServer } from 'node:http';

const [servers, port] = process.argv.slice(2);
const { OAuth2Server } = await import(`${servers}/node_modules/oauth2-mock-server/dist/index.mjs`);

const state = { secrets: ['s1'], code: 'invalid_client', status: 401, answer: {}, fault: null };
const seen = { asked: 0, accepted: [], rejected: 0, form: null };
let valid = new Set();

const server = new OAuth2Server();
await server.issuer.keys.generate('ES256');
server.issuer.url = `http://127.0.0.1:${port}`;

/** Who asks: by RFC 6749, what stands in Basic is encoded as in a form. */
const shown = request => {
  const [kind, text] = (request.headers.authorization ?? '').split(' ');
  if (kind !== 'Basic') return request.body.client_secret;
  const part = Buffer.from(text, 'base64').toString().split(':')[1] ?? '';
  return decodeURIComponent(part.replaceAll('+', ' '));
};

server.service.on('beforeResponse', (response, request) => {
  const secret = shown(request);
  seen.form = { ...request.body };
  if (!state.secrets.includes(secret)) {
    seen.rejected += 1;
    response.statusCode = state.status;
    response.body = { error: state.code, error_description: `not ${secret}` };
    return;
  }
  seen.accepted.push(secret);
  // Two tokens of one second would be the same.
  response.body.access_token += `.${seen.accepted.length}`;
  valid.add(response.body.access_token);
  for (const [name, value] of Object.entries(state.answer)) {
    if (value === '') delete response.body[name];
    else response.body[name] = value;
  }
});

const json = (response, body) => {
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify(body));
};

const control = async (request, response) => {
  if (request.method === 'POST') {
    let body = '';
    for await (const part of request) body += part;
    const { revoke, ...change } = JSON.parse(body);
    if (revoke) valid = new Set();
    Object.assign(state, change);
  }
  json(response, seen);
};

const api = (request, response) => {
  const token = (request.headers.authorization ?? '').replace('Bearer ', '');
  if (!valid.has(token)) {
    response.statusCode = 401;
    response.setHeader('www-authenticate', 'Bearer error="invalid_token"');
  }
  response.end('ok');
};

const faults = {
  down: response => {
    response.statusCode = 503;
    response.end('s3cr3t');
  },
  slow: () => {},
  garbage: response => response.end('<html>s3cr3t</html>'),
  throttled: response => {
    response.statusCode = 429;
    response.setHeader('retry-after', '1');
    response.end('{"error": "slow_down"}');
  },
  broken: response => response.destroy(),
  forbidden: response => {
    response.statusCode = 400;
    json(response, { error: 'invalid_scope', error_description: 's3cr3t' });
  },
};

createServer((request, response) => {
  if (request.url === '/control') return control(request, response);
  if (request.url.startsWith('/api')) return api(request, response);
  if (request.url === '/token') {
    seen.asked += 1;
    if (state.fault) return faults[state.fault](response);
  }
  return server.service.requestHandler(request, response);
}).listen(Number(port), '127.0.0.1');
