// Stores: how each is made, what is wrong with one, and keys of one handle that another source logs in with.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import { join } from 'node:path'
import { test } from 'node:test'
import { inspect } from 'node:util'

import * as keyswap from 'keyswap'

import { FAST, ROOT, worldOf } from './world.mjs'

const { KeySwap, KeyswapError } = keyswap
const AWS = { region: 'eu-west-1', accessKeyId: 's3cr3t', secretAccessKey: 's3cr3t' }
const TOKENS = 'https://login.example.com/token'
const AZURE = 'https://my-vault.vault.azure.net'
const VAULT = { url: 'https://vault.example.com:8200' }

const STORES = [
  () => keyswap.awsSecretsManager('prod/trading', { ...AWS, endpoint: 'http://localhost:1', replicaRegions: ['us-east-1'] }),
  () => keyswap.awsParameterStore('/prod/key', { ...AWS, sessionToken: 's3cr3t', label: 'live' }),
  () => keyswap.awsSecretsAgent('prod/trading', { token: 's3cr3t', key: '/api_key' }),
  () => keyswap.azureKeyVault(AZURE, 'trading', { tenantId: 't', clientId: 'a', clientSecret: 's3cr3t' }),
  () => keyswap.etcd(['https://etcd.example.com:2379'], '/keys/a', { user: 'u', password: 's3cr3t' }),
  () => keyswap.azureKeyVault(new URL(AZURE), 'trading', { token: () => 's3cr3t' }),
  () => keyswap.gcpSecretManager('projects/p/secrets/trading', { token: 's3cr3t' }),
  () => keyswap.gcpSecretManager('projects/p/secrets/trading', { token: async () => 's3cr3t', timeout: 1000 }),
  () => keyswap.oauth2ClientCredentials(TOKENS, {
    clientId: 'bot', clientSecret: 's3cr3t', scopes: ['a'], parameters: { x: 's3cr3t' }, defaultLifetime: 60_000,
  }),
  () => keyswap.oauth2RefreshToken(TOKENS, '/var/lib/token', { clientId: 'app' }),
  () => keyswap.vault({ ...VAULT, kv: 'secret/trading', token: 's3cr3t' }),
  () => keyswap.vault({ url: new URL(VAULT.url), staticRole: 'database/app', appRole: 's3cr3t', secretId: 's3cr3t' }),
  () => keyswap.vault({ ...VAULT, dynamic: 'database/creds/app', kubernetes: 'trading' }),
]

test('a store shows what it is and no secret', () => {
  for (const make of STORES) {
    const shown = inspect(make())
    assert.ok(shown.startsWith('Source {') && !shown.includes('s3cr3t'), shown)
  }
})

test('what is wrong with a store is told at once', () => {
  for (const make of [
    () => keyswap.awsSecretsManager('prod/trading', { accessKeyId: 's3cr3t' }),
    () => keyswap.awsSecretsAgent('prod/trading', { endpoint: 's3cr3t' }),
    () => keyswap.awsSecretsAgent('prod/trading', { tokens: 's3cr3t' }),
    () => keyswap.azureKeyVault(AZURE, 'trading', { clientId: 'a', clientSecret: 's3cr3t' }),
    () => keyswap.etcd([], '/keys/a', { password: 's3cr3t' }),
    () => keyswap.gcpSecretManager('s3cr3t'),
    () => keyswap.gcpSecretManager('projects/p/secrets/t', { token: 's3cr3t', credentials: 's3cr3t' }),
    () => keyswap.oauth2ClientCredentials('login.example.com', { clientId: 'x', clientSecret: 's3cr3t' }),
    () => keyswap.oauth2ClientCredentials(TOKENS, { clientId: 'x', clientSecret: () => 's3cr3t' }),
    () => keyswap.oauth2RefreshToken(TOKENS, '', { clientId: 's3cr3t' }),
    () => keyswap.vault({ ...VAULT, token: 's3cr3t' }),
    () => keyswap.vault({ ...VAULT, kv: 'secret/a', token: 's3cr3t', kubernetes: 's3cr3t' }),
    () => keyswap.vault({ ...VAULT, kv: 'secret/a', token: 7 }),
    () => keyswap.vault({ ...VAULT, kv: 'secret/a', token: 's3cr3t', timeout: -1 }),
  ]) {
    assert.throws(make, (error) => {
      assert.ok(!inspect(error).includes('s3cr3t'), inspect(error))
      return error instanceof KeyswapError && error.code === 'invalid_config'
    })
  }
  assert.throws(() => keyswap.awsSecretsManager('a', { replicaRegions: 's3cr3t' }), TypeError)
  assert.throws(() => keyswap.vault({ ...VAULT, kv: 'secret/a', token: 'x', tokenFile: 'y' }), TypeError)
})

/** The interfaces of options, as the package declares them: names with the types of their members. */
function interfaces() {
  const declared = readFileSync(join(ROOT, 'bindings/node/lib/generated/sources.ts'), 'utf8')
  const found = new Map()
  for (const [, name, body] of declared.matchAll(/export interface (\w+)Options \{\n([^}]*)\}/g)) {
    found.set(name, [...body.matchAll(/^ {2}(\w+)\?: (.*)$/gm)].map(([, member, type]) => [member, type]))
  }
  return found
}

test('each option has its name and its type in the core', () => {
  const all = interfaces()
  assert.ok(all.size > 8)
  for (const [name, members] of all) {
    const make = keyswap[name.replace(/^[A-Z]+(?=[A-Z]|$)|^[A-Z]/, (first) => first.toLowerCase())] ?? keyswap[camel(name)]
    assert.equal(typeof make, 'function', name)
    const subjects = new Array(make.length).fill('s3cr3t')
    if (name === 'Command' || name === 'Etcd') subjects[0] = ['s3cr3t']
    for (const [member, type] of members) {
      const value = /Record|Headers/.test(type) ? { x: 's3cr3t' } : /regions/.test(member) ? [] : /string\[\]/.test(type) ? ['s3cr3t']
        : /boolean/.test(type) ? true : /number/.test(type) ? 3000 : 's3cr3t'
      try {
        make(...subjects, { [member]: value })
      } catch (error) {
        assert.equal(error.code, 'invalid_config', `${name}.${member}`)
        assert.doesNotMatch(error.message, /unknown field|not of its type/, `${name}.${member}`)
      }
    }
  }
})

/** `OAuth2ClientCredentials` as `oauth2ClientCredentials`. */
function camel(name) {
  return name.replace('OAuth', 'oauth')
}

/** A store that answers so. */
async function served(t, answer) {
  const server = http.createServer((request, response) => {
    request.resume().on('end', () => {
      const [status, body] = answer(request)
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    })
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  return `http://127.0.0.1:${server.address().port}`
}

async function followed(t, source) {
  const keys = await KeySwap.follow(source, { policy: FAST })
  t.after(() => keys.close())
  return keys
}

test('a key in Vault is followed', async (t) => {
  const stored = ['old', 'new']
  let count = 1
  const url = await served(t, ({ url, headers }) => {
    if (headers['x-vault-token'] !== 's3cr3t') return [403, { errors: ['permission denied'] }]
    const made = Object.fromEntries(stored.slice(0, count).map((_, n) => [n + 1, { created_time: `2026-01-0${n + 1}T00:00:00Z` }]))
    const { pathname, searchParams } = new URL(url, 'http://x')
    if (pathname === '/v1/secret/metadata/trading') return [200, { data: { versions: made } }]
    const version = Number(searchParams.get('version') ?? count)
    const metadata = { version, ...made[version] }
    return [200, { data: { data: { api_key: stored[version - 1] }, metadata } }]
  })
  const keys = await followed(t, keyswap.vault({ url, kv: 'secret/trading', token: 's3cr3t', key: '/api_key' }))
  assert.equal(keys.key(), 'old')
  count = 2
  await keys.refresh()
  assert.equal(keys.credentials.primary.reveal(), 'new')
  assert.deepEqual(keys.credentials.previous.map((one) => one.reveal()), ['old'])
})

test('the secret of a client is what another handle follows', async (t) => {
  let secret = 's1'
  let good = 's1'
  const basic = (text) => `Basic ${Buffer.from(`bot:${text}`).toString('base64')}`
  const url = await served(t, ({ headers }) =>
    headers.authorization === basic(good)
      ? [200, { access_token: `of ${good}`, token_type: 'Bearer', expires_in: 3600 }]
      : [401, { error: 'invalid_client' }],
  )
  const secrets = await followed(t, () => ({ current: { id: `id-${secret}`, key: secret } }))
  const tokens = await followed(t, keyswap.oauth2ClientCredentials(url, { clientId: 'bot', clientSecret: secrets }))
  assert.equal(tokens.key(), 'of s1')
  secret = good = 's2'
  await tokens.refresh()
  assert.equal(tokens.key(), 'of s2')
  // The rejection made it fetch, and the acceptance is told in the background.
  while (secrets.current.id !== 'id-s2') await new Promise((resolve) => setTimeout(resolve, 5))
})

test('a bootstrap credential is what another handle follows', async (t) => {
  const world = await worldOf(t)
  const admin = await followed(t, () => ({ current: { id: 'b1', key: world.bootstrap } }))
  const shape = { within: '/current', key: '/material/key', id: '/id' }
  for (const source of [
    keyswap.endpoint(world.setUrl, { bootstrap: admin }),
    keyswap.json(world.setUrl, { bootstrap: admin, ...shape }),
  ]) {
    assert.equal((await followed(t, source)).current.id, 'k1')
  }
})
