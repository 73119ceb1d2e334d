// oidc-provider: clients that prove themselves in each way, refresh tokens that rotate, and an API.
//
//   node oidc_provider.mjs SERVERS PORT [CERTIFICATE KEY AUTHORITY]
//
// POST /control takes {clients, ttl, revoke, grant}; it answers with the refresh token of a grant. With a certificate
// it speaks TLS, and asks for the client's.

import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';

const [servers, port, certificate, key, authority] = process.argv.slice(2);
const { Provider, errors } = await import(`${servers}/node_modules/oidc-provider/lib/index.js`);

const API = 'https://api.example.com/';
const issuer = `${certificate ? 'https' : 'http'}://127.0.0.1:${port}`;
let ttl = 60;
let provider;
let clients = [];

const make = () => {
  provider = new Provider(issuer, {
    clients,
    scopes: ['openid', 'offline_access', 'read', 'write'],
    rotateRefreshToken: true,
    ttl: { ClientCredentials: () => ttl, AccessToken: () => ttl, RefreshToken: 3600, Grant: 3600 },
    findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
    enabledJWA: { clientAuthSigningAlgValues: ['ES256', 'RS256', 'EdDSA', 'Ed25519'] },
    clientAuthMethods: [
      'client_secret_basic', 'client_secret_post', 'private_key_jwt', 'tls_client_auth', 'none',
    ],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true },
      mTLS: {
        enabled: true,
        tlsClientAuth: true,
        getCertificate: context => context.req.socket.getPeerX509Certificate?.(),
        certificateAuthorized: context => context.req.socket.authorized === true,
        certificateSubjectMatches: (context, _, expected) =>
          context.req.socket.getPeerCertificate().subject.CN === expected,
      },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, resource) => {
          if (resource !== API) throw new errors.InvalidTarget();
          return { scope: 'read write', audience: API, accessTokenTTL: ttl, accessTokenFormat: 'opaque' };
        },
      },
    },
  });
};

const find = async token =>
  (await provider.ClientCredentials.find(token)) ?? (await provider.AccessToken.find(token));

const control = async (request, response) => {
  let body = '';
  for await (const part of request) body += part;
  const change = JSON.parse(body);
  ttl = change.ttl ?? ttl;
  if (change.clients) {
    clients = change.clients.map(({ pem, kid, alg, ...client }) =>
      pem ? { ...client, jwks: { keys: [{ ...createPublicKey(pem).export({ format: 'jwk' }), kid, alg, use: 'sig' }] } } : client);
    make();
  }
  let refreshToken;
  if (change.grant) {
    const client = await provider.Client.find(change.grant);
    const grant = new provider.Grant({ accountId: 'someone', clientId: change.grant });
    grant.addOIDCScope('openid offline_access');
    const token = new provider.RefreshToken({
      client, accountId: 'someone', grantId: await grant.save(), gty: 'authorization_code', scope: 'openid offline_access',
    });
    refreshToken = await token.save();
  }
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ refreshToken }));
};

const api = async (request, response) => {
  const token = await find((request.headers.authorization ?? '').replace('Bearer ', ''));
  if (!token) {
    response.statusCode = 401;
    response.setHeader('www-authenticate', 'Bearer error="invalid_token"');
  }
  response.end('ok');
};

/** The API does not know this token any more. */
const forget = async (request, response) => {
  const token = await find((request.headers.authorization ?? '').replace('Bearer ', ''));
  await token?.destroy();
  response.end();
};

const answer = (request, response) => {
  if (request.url === '/control') return control(request, response);
  if (request.url.startsWith('/api')) return api(request, response);
  if (request.url === '/forget') return forget(request, response);
  return provider.callback()(request, response);
};

make();
const server = certificate
  ? createTlsServer({
      cert: readFileSync(certificate), key: readFileSync(key), ca: readFileSync(authority),
      requestCert: true, rejectUnauthorized: false,
    }, answer)
  : createServer(answer);
server.listen(Number(port), '127.0.0.1');
