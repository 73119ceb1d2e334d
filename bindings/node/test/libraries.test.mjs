// The client and each adapter: what its own library promises, kept through rotations.
import assert from 'node:assert/strict'
import { subscribe } from 'node:diagnostics_channel'
import http from 'node:http'
import http2 from 'node:http2'
import { test } from 'node:test'
import { inspect } from 'node:util'

import axios from 'axios'
import { Client, createFetch, KeySwap } from 'keyswap'
import { keyswapAdapter } from 'keyswap/axios'
import { keyswapInterceptor } from 'keyswap/undici'
import OpenAI from 'openai'
import { Agent, fetch as undiciFetch, Headers as UndiciHeaders, upgrade } from 'undici'

import { echo, told, WAYS } from './ways.mjs'
import { FAST, KEY, once, waitFor, worldOf } from './world.mjs'

/** A request that nothing helps does not wait long. */
const BRIEF = { ...FAST, wait: 300 }

test('the client: json, queries, named keys, scopes, streams, status errors', async (t) => {
  const world = await worldOf(t)
  const keys = await world.ready({ policy: BRIEF })
  const url = await echo(t, told)
  const other = await KeySwap.follow(() => ({ scopes: ['read'], current: { id: 'o', key: 'the-other' } }))
  t.after(() => other.close())
  const api = new Client(keys, { baseURL: url, scheme: KEY, named: { other }, headers: { 'x-all': '1' } })
  const seen = await (await api.post('/x', { json: { a: 1 }, query: { b: 'c d' }, keys: 'other' })).json()
  assert.deepEqual(JSON.parse(seen.body), { a: 1 })
  assert.deepEqual([seen.url, seen.headers['content-type']], ['/x?b=c+d', 'application/json'])
  assert.deepEqual([seen.headers['x-api-key'], seen.headers['x-all']], ['the-other', '1'])
  await assert.rejects(api.get('/x', { keys: 'other', scopes: ['trade'] }), { code: 'missing_scope' })
  await assert.rejects(api.get('/x', { keys: 'none' }), { code: 'invalid_config' })
  await assert.rejects(api.post('/x', { json: {}, body: 'x' }), TypeError)
  await assert.rejects(api.post('/x', { body: 7 }), TypeError)
  async function* broken() {
    yield 'a'
    throw new RangeError('of the program')
  }
  await assert.rejects(api.post('/x', { body: broken() }), RangeError)
  const response = await api.get('/x')
  const parts = []
  for await (const part of response.body) parts.push(part)
  assert.equal(JSON.parse(Buffer.concat(parts)).method, 'GET')
  await assert.rejects(response.text(), TypeError)
  const protectedApi = new Client(keys, { baseURL: world.apiUrl, scheme: KEY })
  const refused = await protectedApi.get('/always-401')
  assert.throws(() => refused.raiseForStatus(), { code: 'status', status: 401 })
  assert.equal((await protectedApi.get('/v1/price')).raiseForStatus().ok, true)
})

test('fetch: what a drop-in has to keep', async (t) => {
  const url = await echo(t, (seen, response) => {
    const to = /^\/to-(\d+)$/.exec(seen.url)?.[1]
    if (to === undefined) told(seen, response)
    else response.writeHead(Number(to), { location: '/there' }).end()
  })
  const keys = await KeySwap.follow(() => ({ current: { id: 'k1', key: 'the-key' } }))
  t.after(() => keys.close())
  const fetch = createFetch(keys, { baseURL: `${url}/base/`, scheme: KEY })
  const post = { method: 'POST', body: 'text', headers: { 'content-type': 'text/plain' } }
  assert.equal((await (await fetch('/x')).json()).url, '/base/x')
  for (const [status, method, body] of [[301, 'GET', ''], [303, 'GET', ''], [307, 'POST', 'text'], [308, 'POST', 'text']]) {
    const response = await fetch(`${url}/to-${status}`, post)
    const seen = await response.json()
    assert.deepEqual([seen.method, seen.body, seen.url, response.redirected], [method, body, '/there', true])
    assert.equal(seen.headers['content-type'], method === 'GET' ? undefined : 'text/plain')
    assert.equal(seen.headers['x-api-key'], 'the-key')
  }
  assert.equal((await fetch(`${url}/to-302`, { redirect: 'manual' })).status, 302)
  await assert.rejects(fetch(`${url}/to-302`, { redirect: 'error' }), TypeError)
  const asked = await fetch(new Request(`${url}/r`, { ...post, headers: { 'x-own': '1' } }))
  const seen = await asked.json()
  assert.deepEqual([seen.body, seen.headers['x-own'], seen.headers['x-api-key']], ['text', '1', 'the-key'])
  await assert.rejects(createFetch(keys, { allowedOrigins: [url] })('/relative'), TypeError)
})

test('fetch: its timeout is for all of a request, and that of a request for its own', async (t) => {
  const url = await echo(t, ({ url }, response) => {
    if (url === '/body') response.writeHead(200).write('x')
  })
  const keys = await KeySwap.follow(() => ({ current: { id: 'k1', key: 'the-key' } }))
  t.after(() => keys.close())
  const options = { baseURL: url, scheme: KEY }
  await assert.rejects(createFetch(keys, { ...options, timeout: 100 })('/hang'), { name: 'TimeoutError' })
  const fetch = createFetch(keys, { ...options, timeout: 60_000 })
  await assert.rejects(fetch('/hang', { timeout: 100 }), { name: 'TimeoutError' })
  await assert.rejects(fetch(new Request(`${url}/hang`), { timeout: 100 }), { name: 'TimeoutError' })
  await assert.rejects(fetch('/hang', { timeout: 60_000, signal: AbortSignal.abort() }), { name: 'AbortError' })
  const { body } = await fetch('/body', { timeout: 200 })
  await assert.rejects(async () => { for await (const _ of body); }, { name: 'TimeoutError' })
  for (const timeout of [0, -1, NaN, '1']) {
    assert.throws(() => createFetch(keys, { ...options, timeout }), RangeError)
    await assert.rejects(fetch('/hang', { timeout }), RangeError)
  }
})

for (const name of ['fetch', 'undici', 'undici alone']) {
  test(`${name}: headers may have any form that the library takes`, async (t) => {
    const url = await echo(t, told)
    const keys = await KeySwap.follow(() => ({ current: { id: 'k1', key: 'the-key' } }))
    t.after(() => keys.close())
    const send = WAYS[name]({ apiUrl: url }, keys)
    const own = { 'X-Own': 'own' }
    const pairs = Object.entries(own)
    const inherited = Object.create({ 'x-inherited': 'no' }, Object.getOwnPropertyDescriptors(own))
    const forms = { object: own, inherited, iterable: new Map(pairs), Headers: new Headers(own), UndiciHeaders: new UndiciHeaders(own) }
    forms.array = name === 'fetch' ? pairs : pairs.flat()
    forms.pairs = pairs
    for (const [form, headers] of Object.entries(forms)) {
      const seen = JSON.parse((await send('/v1/x', { headers })).text).headers
      assert.deepEqual([seen['x-own'], seen['x-api-key'], seen['x-inherited']], ['own', 'the-key', undefined], form)
    }
    own['X-Api-Key'] = 'mine'
    const both = { object: own, iterable: new Map(Object.entries(own)), Headers: new Headers(own), pairs: Object.entries(own) }
    if (name !== 'fetch') both.array = Object.entries(own).flat()
    for (const [form, headers] of Object.entries(both)) {
      await assert.rejects(async () => send('/v1/x', { headers }), { code: 'invalid_config' }, form)
    }
  })
}

test('fetch: a header that is named as another is valued stays', async (t) => {
  const url = await echo(t, told)
  const keys = await KeySwap.follow(() => ({ current: { id: 'k1', key: 'x-own' } }))
  t.after(() => keys.close())
  const response = await createFetch(keys, { baseURL: url, scheme: KEY })('/', { headers: { 'X-Own': 'own' } })
  assert.equal((await response.json()).headers['x-own'], 'own')
})

test('undici: its own fetch goes through the interceptor, too', async (t) => {
  const world = await worldOf(t)
  const keys = await world.ready()
  const dispatcher = new Agent().compose(keyswapInterceptor(keys, { allowedOrigins: [world.apiUrl], scheme: KEY }))
  await world.do('cut')
  const response = await undiciFetch(`${world.apiUrl}/v1/price`, { dispatcher })
  assert.equal((await response.json()).credential, 'k2')
})

test('a rejection says why no fresh credential came', async (t) => {
  const url = await echo(t, (_, response) => response.writeHead(401).end('no'))
  const options = { baseURL: url, allowedOrigins: [url], scheme: KEY }
  async function failing() {
    let asked = 0
    const keys = await KeySwap.follow(() => {
      asked += 1
      if (asked > 1) throw new Error('down')
      return { current: { id: 'k1', key: 'the-key' } }
    }, { policy: { ...FAST, wait: 900 } })
    t.after(() => keys.close())
    return keys
  }
  const response = await createFetch(await failing(), options)('/')
  assert.deepEqual([response.status, response.cause?.code], [401, 'source_failed'])
  const adapter = keyswapAdapter(await failing(), options)
  const error = await axios.get(url, { adapter }).catch((error) => error)
  assert.deepEqual([error.response.status, error.cause?.code], [401, 'source_failed'])
  const answer = await new Client(await failing(), options).get('/')
  assert.equal(answer.cause?.code, 'source_failed')
  assert.throws(() => answer.raiseForStatus(), (error) => error.cause?.code === 'source_failed')
})

const ENDLESS = {
  'over HTTP/2': { httpVersion: 2 },
  'through its adapter of fetch': { adapter: 'fetch' },
}
for (const [how, { adapter, ...config }] of Object.entries(ENDLESS)) {
  test(`axios ${how}: a rejected stream that does not end is given up`, async (t) => {
    let asked = 0
    let isDropped = false
    const server = (adapter === undefined ? http2 : http).createServer((message, response) => {
      if (message.headers['x-api-key'] === 'fresh') return response.end('taken')
      const drip = setInterval(() => response.write('no'), 5)
      const drop = () => (clearInterval(drip), (isDropped = true))
      // Over HTTP/2 a response that is being written is not always closed then.
      message.on('aborted', drop)
      response.on('close', drop)
      response.writeHead(401)
    })
    const sessions = []
    server.on('session', (session) => sessions.push(session))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.after(() => (sessions.forEach((session) => session.destroy()), server.closeAllConnections?.(), server.close()))
    const url = `http://127.0.0.1:${server.address().port}`
    const source = () => ({ current: { id: `k${(asked += 1)}`, key: asked === 1 ? 'stale' : 'fresh' } })
    const keys = await KeySwap.follow(source, { policy: FAST })
    t.after(() => keys.close())
    const keyed = keyswapAdapter(keys, { scheme: KEY, allowedOrigins: [url], adapter })
    const { status, data } = await axios.get(url, { adapter: keyed, responseType: 'stream', ...config })
    const parts = []
    for await (const part of data) parts.push(part)
    assert.deepEqual([status, Buffer.concat(parts).toString()], [200, 'taken'])
    for (let waited = 0; waited < 5000 && !isDropped; waited += 5) await new Promise((resolve) => setTimeout(resolve, 5))
    assert.ok(isDropped)
  })
}

test('undici: a rejection whose connection breaks while a fresh credential is waited for is no end', async (t) => {
  const held = []
  const server = http.createServer((message, response) => {
    if (message.headers['x-api-key'] === 'fresh') message.on('end', () => response.end('taken')).resume()
    else held.push(response.writeHead(401, { 'content-length': 100_000 })) && response.write('no')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => (server.closeAllConnections(), server.close()))
  const url = `http://127.0.0.1:${server.address().port}`
  let asked = 0
  let answer
  const keys = await KeySwap.follow(() => {
    asked += 1
    if (asked === 1) return { current: { id: 'k1', key: 'stale' } }
    return new Promise((resolve) => (answer = () => resolve({ current: { id: 'k2', key: 'fresh' } })))
  }, { policy: FAST })
  t.after(() => keys.close())
  const rejected = keys.events()
  // Its body is still on its way, so it is noticed.
  const sent = WAYS['undici alone']({ apiUrl: url }, keys)('/x', { method: 'POST', body: Buffer.alloc(20_000_000) })
  await waitFor(rejected, 'rejected')
  const noticed = new Promise((resolve) => subscribe('undici:request:error', resolve))
  held[0].destroy()
  await noticed
  while (answer === undefined) await new Promise(setImmediate)
  answer()
  assert.deepEqual(await sent, { status: 200, text: 'taken' })
})

test('undici: a connection that is upgraded is the program\'s, also where an attempt has begun', async (t) => {
  const server = http.createServer()
  server.on('upgrade', (message, socket) => {
    socket.write('HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n')
    socket.end(message.headers['x-api-key'])
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const url = `http://127.0.0.1:${server.address().port}`
  let tell
  const keys = new KeySwap(() => new Promise((resolve) => (tell = resolve)))
  t.after(() => keys.close())
  const dispatcher = new Agent().compose(keyswapInterceptor(keys, { allowedOrigins: [url], scheme: KEY }))
  const upgraded = upgrade(url, { dispatcher, protocol: 'echo' })
  while (tell === undefined) await new Promise(setImmediate)
  tell({ current: { id: 'k1', key: 'the-key' } })
  const { socket } = await upgraded
  const parts = []
  for await (const part of socket) parts.push(part)
  assert.equal(Buffer.concat(parts).toString(), 'the-key')
})

test('axios: statuses are errors as the program wants, interceptors run once', async (t) => {
  const world = await worldOf(t)
  const keys = await world.ready({ policy: BRIEF })
  const api = axios.create({
    baseURL: world.apiUrl, proxy: false,
    adapter: keyswapAdapter(keys, { allowedOrigins: [world.apiUrl], scheme: KEY }),
  })
  let runs = 0
  api.interceptors.request.use((config) => {
    runs += 1
    return config
  })
  await world.do('cut')
  const answer = await api.get('/v1/price')
  assert.deepEqual([answer.data.credential, runs], ['k2', 1])
  assert.ok(!inspect(answer, { depth: 9 }).includes(keys.key()))
  const error = await api.get('/always-401').catch((error) => error)
  assert.deepEqual([error.isAxiosError, error.response.status], [true, 401])
  assert.ok(!inspect(error, { depth: 9 }).includes(keys.key()))
})

test('an SDK that takes a function gets each fresh key', async (t) => {
  const seen = []
  const url = await echo(t, ({ headers }, response) => {
    seen.push(headers.authorization)
    response.setHeader('content-type', 'application/json')
    response.end('{"object": "list", "data": []}')
  })
  let version = 1
  const keys = await KeySwap.follow(() => ({ current: { id: `k${version}`, key: `key-${version}` } }), {
    policy: { fetchFloor: 1, fetchFloorMin: 1, probeUnreported: 1 },
  })
  t.after(() => keys.close())
  const openai = new OpenAI({ apiKey: keys.akey, baseURL: url })
  await openai.models.list()
  version = 2
  const events = keys.events()
  await keys.refresh()
  // Nobody reports what the API said, so the new one is taken into use unproven, in time.
  while (keys.current.id !== 'k2') await events.next()
  await openai.models.list()
  assert.deepEqual(seen, ['Bearer key-1', 'Bearer key-2'])
})
