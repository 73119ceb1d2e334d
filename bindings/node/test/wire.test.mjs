// A credential stands on the wire, and nowhere else: not on what a library copies, keeps, redirects or prints, and
// not in what a proxy is shown. What was answered is not sent again, whatever happens behind it.
import assert from 'node:assert/strict'
import http from 'node:http'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { inspect } from 'node:util'

import axios from 'axios'
import { bearer, createFetch, file as fileSource, KeySwap } from 'keyswap'
import { keyswapAdapter } from 'keyswap/axios'
import { keyswapInterceptor } from 'keyswap/undici'
import { Agent, EnvHttpProxyAgent, fetch as undiciFetch, interceptors, ProxyAgent, RedirectHandler, request, RetryAgent } from 'undici'

import { echo, told, WAYS } from './ways.mjs'
import { FAST, KEY, once, program } from './world.mjs'

const SECRET = 's3cr3t-of-k1'
/** A request that nothing helps does not wait long. */
const BRIEF = { ...FAST, wait: 200 }
/** Those that follow redirects. */
const FOLLOWING = Object.entries(WAYS).filter(([name]) => name !== 'undici alone')

async function keysOf(t, options) {
  const keys = await KeySwap.follow(() => ({ current: { id: 'k1', key: SECRET } }), options)
  t.after(() => keys.close())
  return keys
}

/** As much as a program can print of it. */
function printed(value) {
  return [inspect(value), inspect(value, { depth: 12, showHidden: true, getters: true, maxStringLength: null })].join('\n')
}

function assertClean(value, what) {
  const text = printed(value)
  const at = text.indexOf(SECRET)
  assert.ok(at === -1, `${what}: ${text.slice(Math.max(0, at - 200), at + 40)}`)
}

for (const [name, way] of FOLLOWING) {
  test(`${name}: a chain of redirects to another origin takes no key there`, async (t) => {
    const away = []
    const elsewhere = await echo(t, (seen, response) => {
      away.push(seen)
      told(seen, response)
    })
    const here = []
    const url = await echo(t, (seen, response) => {
      here.push(seen)
      const [, place, status] = seen.url.split('/')
      const location = { files: `/folder/${status}`, folder: `${elsewhere}/taken` }[place]
      response.writeHead(Number(status), { location }).end()
    })
    const send = way({ apiUrl: url }, await keysOf(t))
    for (const status of [301, 302, 303, 307, 308]) {
      for (const method of ['GET', 'POST']) {
        away.length = here.length = 0
        const body = method === 'POST' ? { body: 'text' } : {}
        assert.equal((await send(`/files/${status}`, { method, ...body })).status, 200)
        assert.deepEqual(here.map(({ headers }) => headers['x-api-key']), [SECRET, SECRET], `${method} ${status}`)
        assert.equal(away.length, 1)
        assert.ok(!JSON.stringify(away).includes(SECRET), `${method} ${status}`)
      }
    }
  })
}

for (const [name, way] of FOLLOWING) {
  test(`${name}: behind another origin no key is sent, nor a header of the program's own in its place`, async (t) => {
    const away = []
    const seen = []
    const elsewhere = await echo(t, ({ url: path, headers }, response) => {
      away.push(headers['x-api-key'])
      response.writeHead(302, { location: `${url}/back${path}` }).end()
    })
    const url = await echo(t, ({ url: path, headers }, response) => {
      seen.push([path, headers['x-api-key']])
      if (path.startsWith('/back')) response.end('back')
      else response.writeHead(302, { location: `${elsewhere}/x` }).end()
    })
    const keys = await keysOf(t)
    assert.equal((await way({ apiUrl: url }, keys)('/there')).text, 'back')
    assert.deepEqual([seen, away], [[['/there', SECRET], ['/back/x', undefined]], [undefined]])
    if (name === 'undici') return // Its own interceptor follows, and takes other headers of the program along.
    await way({ apiUrl: url }, keys, { ownHeaderWins: true })('/there', { headers: { 'X-Api-Key': 'mine' } })
    assert.deepEqual([seen.slice(2), away.slice(1)], [[['/there', 'mine'], ['/back/x', undefined]], [undefined]])
  })

  test(`${name}: an allowed origin that the set rules out is an error, and is sent nothing`, async (t) => {
    let sent = 0
    const url = await echo(t, (_, response) => response.end(String((sent += 1))))
    const file = join(mkdtempSync(join(tmpdir(), 'keyswap-')), 'set.json')
    t.after(() => rmSync(dirname(file), { recursive: true }))
    writeFileSync(file, JSON.stringify({ audience: ['https://api.example.com'], generation: 1, current: { id: 'k1', material: { key: SECRET } } }))
    const keys = await KeySwap.follow(fileSource(file))
    t.after(() => keys.close())
    await assert.rejects(async () => way({ apiUrl: url }, keys)('/x'), { code: 'origin_not_allowed' })
    assert.equal(sent, 0)
  })

  test(`${name}: what was answered is not sent again, whatever happens behind it`, async (t) => {
    const closed = net.createServer().listen(0, '127.0.0.1')
    await once(closed, 'listening')
    const nobody = `http://127.0.0.1:${closed.address().port}`
    closed.close()
    const sends = {}
    const url = await echo(t, ({ method, url, headers }, response) => {
      sends[`${method} ${url}`] = (sends[`${method} ${url}`] ?? 0) + 1
      const [, place, status, next] = url.split('/')
      if (place === 'orders') response.writeHead(Number(status), { location: next === 'refused' ? `/order/${status}` : `${nobody}/` }).end()
      else response.writeHead(headers['x-api-key'] === SECRET ? 401 : 400).end('no')
    })
    const send = way({ apiUrl: url }, await keysOf(t, { policy: BRIEF }), { allowedOrigins: [url, nobody] })
    for (const method of ['POST', 'PUT', 'PATCH']) {
      for (const status of [301, 302, 303, 307, 308]) {
        assert.equal((await send(`/orders/${status}/refused`, { method, body: 'buy' })).status, 401)
        await assert.rejects(send(`/orders/${status}/nobody`, { method, body: 'buy' }))
        for (const behind of ['refused', 'nobody']) {
          assert.equal(sends[`${method} /orders/${status}/${behind}`], 1, `${method} ${status} ${behind}`)
        }
      }
    }
  })

  // Undici has an interceptor of its own for that.
  if (name === 'undici') continue
  test(`${name}: ten redirects are followed, and no more`, async (t) => {
    const url = await echo(t, (seen, response) => {
      const left = Number(seen.url.slice(1))
      if (left === 0) told(seen, response)
      else response.writeHead(302, { location: `/${left - 1}` }).end()
    })
    const keys = await keysOf(t)
    const send = way({ apiUrl: url }, keys)
    assert.equal((await send('/10')).status, 200)
    if (name === 'client') assert.equal((await send('/11')).status, 302)
    else await assert.rejects(send('/11'))
  })
}

/** An API that redirects to another origin, what that one was sent, and the interceptor for the first alone. */
async function leadingAway(t) {
  const away = []
  const elsewhere = await echo(t, (seen, response) => {
    away.push(seen)
    told(seen, response)
  })
  const url = await echo(t, (_, response) => response.writeHead(302, { location: elsewhere }).end())
  const keyed = keyswapInterceptor(await keysOf(t), { allowedOrigins: [url], scheme: KEY })
  return { away, url, keyed }
}

test('undici: an interceptor that follows redirects further inside is told not to', async (t) => {
  const { away, url, keyed } = await leadingAway(t)
  const dispatcher = new Agent().compose(interceptors.redirect({ maxRedirections: 5 }), keyed)
  const { statusCode, body } = await request(url, { dispatcher })
  await body.dump()
  assert.deepEqual([statusCode, away], [302, []])
})

test('undici: one that follows them further inside all the same is stopped before it writes', async (t) => {
  const { away, url, keyed } = await leadingAway(t)
  const follows = (dispatch) => (opts, handler) => dispatch(opts, new RedirectHandler(dispatch, 5, opts, handler))
  const strayed = { code: 'invalid_config', message: /follows redirects/ }
  const inside = new Agent().compose(follows, keyed)
  await assert.rejects(request(url, { dispatcher: inside }), strayed)
  await assert.rejects(undiciFetch(url, { dispatcher: inside, redirect: 'manual' }), (error) => {
    return error.cause?.code === 'invalid_config'
  })
  // Where an attempt has begun, too.
  const keys = new KeySwap(() => ({ current: { id: 'k1', key: SECRET } }))
  t.after(() => keys.close())
  const early = new Agent().compose(follows, keyswapInterceptor(keys, { allowedOrigins: [url], scheme: KEY }))
  await assert.rejects(request(url, { dispatcher: early }), strayed)
  assert.deepEqual(away, [])
})

test('axios: nothing that it returns, throws or streams holds a key', async (t) => {
  const url = await echo(t, ({ url }, response) => {
    if (url === '/hang') response.writeHead(200).write('x')
    else if (url === '/broken') response.writeHead(200, { 'content-length': 10 }).write('x', () => response.destroy())
    else response.writeHead(url === '/500' ? 500 : 200).end('x'.repeat(100_000))
  })
  const keys = await keysOf(t)
  const adapters = { http: {}, fetch: { adapter: 'fetch' } }
  for (const [inner, more] of Object.entries(adapters)) {
    const api = axios.create({
      baseURL: url, adapter: keyswapAdapter(keys, { allowedOrigins: [url], scheme: KEY, ...more }),
      httpAgent: new http.Agent({ keepAlive: true }),
    })
    for (const responseType of ['stream', 'text', 'arraybuffer']) {
      const what = `${inner} ${responseType}`
      assertClean(await api.get('/x', { responseType }), what)
      const refused = await api.get('/500', { responseType }).catch((error) => error)
      assert.equal(refused.response.status, 500)
      assertClean(refused, what)
    }
    if (inner === 'fetch') continue
    const tooLarge = await api.get('/x', { responseType: 'stream', maxContentLength: 1000 })
    const { data } = tooLarge
    const error = await (async () => { for await (const _ of data); })().catch((error) => error)
    assert.ok(error instanceof Error)
    assertClean(error, 'an error of a stream')
    const giveUp = new AbortController()
    const hanging = await api.get('/hang', { responseType: 'stream', signal: giveUp.signal })
    const broken = once(hanging.data, 'error')
    giveUp.abort()
    assertClean(await broken, 'a stream that was given up')
    assertClean(hanging, 'a response that was given up')
    for (const path of ['/hang', '/broken']) {
      assertClean(await api.get(path, { timeout: 100 }).catch((error) => error), path)
    }
    const bad = await api.get('/x', { headers: { 'x-own': 'a\u0100b' } }).catch((error) => error)
    assertClean(bad, 'a header that cannot be sent')
  }
})

test('fetch and undici: nothing that they return, throw or were given holds a key', async (t) => {
  const url = await echo(t, ({ url }, response) => {
    if (url === '/hang') response.writeHead(200).write('x')
    else if (url === '/silent') return
    else if (url === '/garbage') response.socket.end('garbage\r\n\r\n')
    else if (url === '/closed') response.socket.destroy()
    else response.writeHead(url === '/500' ? 500 : 200).end('x')
  })
  const keys = await keysOf(t)
  const options = { allowedOrigins: [url], scheme: KEY }
  const dispatcher = new Agent({ headersTimeout: 300 }).compose(keyswapInterceptor(keys, options), interceptors.redirect({ maxRedirections: 5 }))
  const senders = {
    global: createFetch(keys, options),
    undici: createFetch(keys, { ...options, fetch: undiciFetch }),
    request: (where, init) => request(where, { dispatcher, ...init }),
    composed: (where, init) => undiciFetch(where, { dispatcher, ...init }),
  }
  for (const [name, send] of Object.entries(senders)) {
    for (const path of ['/x', '/500', '/hang', '/silent', '/garbage', '/closed']) {
      const init = { headers: { 'x-own': '1' }, signal: AbortSignal.timeout(path === '/silent' ? 500 : 2000) }
      const outcome = await send(url + path, init).catch((error) => error)
      assertClean([outcome, init], `${name} ${path}`)
      if (outcome instanceof Error) assertClean(outcome.cause, `${name} ${path}`)
      else await (outcome.body.cancel?.() ?? outcome.body.on('error', () => {}).destroy())
    }
  }
  const asked = new Request(`${url}/x`)
  const answer = await senders.global(asked)
  await answer.text()
  assertClean([asked, answer], 'a Request and its Response')
})

/** A proxy that keeps what it is shown, and passes plain requests on. */
async function proxyOf(t) {
  const shown = []
  const server = http.createServer((message, response) => {
    shown.push(JSON.stringify([message.url, message.rawHeaders]))
    message.pipe(http.request(message.url, { headers: message.headers, method: message.method }, (answer) => answer.pipe(response)))
  })
  server.on('connect', (message, socket) => {
    const [host, port] = message.url.split(':')
    const there = net.connect(Number(port || 80), host, () => socket.write('HTTP/1.1 200 OK\r\n\r\n'))
    socket.on('data', (part) => shown.push(part.toString('latin1')))
    socket.pipe(there).pipe(socket)
    for (const each of [socket, there]) each.on('error', () => (socket.destroy(), there.destroy()))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => (server.closeAllConnections(), server.close()))
  return { url: `http://127.0.0.1:${server.address().port}`, shown }
}

/** The environment, for one test. */
function environment(t, variables) {
  for (const [name, value] of Object.entries(variables)) {
    const before = process.env[name]
    process.env[name] = value
    t.after(() => (before === undefined ? delete process.env[name] : (process.env[name] = before)))
  }
}

test('axios: plain http to this machine goes there, whatever proxy there is', async (t) => {
  const proxy = await proxyOf(t)
  environment(t, { HTTP_PROXY: proxy.url, http_proxy: proxy.url, NO_PROXY: '', no_proxy: '' })
  const url = await echo(t, told)
  const { hostname, port } = new URL(proxy.url)
  class Through extends http.Agent {
    createConnection(_, tell) {
      return super.createConnection({ host: hostname, port }, tell)
    }
  }
  const adapter = keyswapAdapter(await keysOf(t), { allowedOrigins: [url], scheme: KEY })
  const ways = [{}, { proxy: { protocol: 'http', host: hostname, port } }, { httpAgent: new Through() }, { maxRedirects: 0 }]
  for (const way of ways) {
    const { data } = await axios.get(url, { adapter, ...way })
    assert.equal(data.headers['x-api-key'], SECRET)
  }
  assert.deepEqual(proxy.shown, [])
  // What holds no credential goes as the program wants.
  const elsewhere = await echo(t, told)
  assert.equal((await axios.get(elsewhere, { adapter })).status, 200)
  assert.equal(proxy.shown.length, 1)
})

test('axios: https goes through a tunnel, and its proxy is shown no key', async (t) => {
  const proxy = await proxyOf(t)
  environment(t, { HTTPS_PROXY: proxy.url, https_proxy: proxy.url, NO_PROXY: '', no_proxy: '' })
  const url = (await echo(t, told)).replace('http:', 'https:')
  const adapter = keyswapAdapter(await keysOf(t), { allowedOrigins: [url], scheme: KEY })
  await assert.rejects(axios.get(url, { adapter }))
  assert.ok(proxy.shown.length > 0 && !JSON.stringify(proxy.shown).includes(SECRET), proxy.shown)
})

test('axios: localhost is this machine, whatever a resolver says', async (t) => {
  const url = (await echo(t, told)).replace('127.0.0.1', 'localhost')
  const adapter = keyswapAdapter(await keysOf(t), { allowedOrigins: [url], scheme: KEY })
  const lookup = (_, __, tell) => tell(new Error('the resolver was asked'))
  for (const httpAgent of [undefined, new http.Agent({ lookup })]) {
    assert.equal((await axios.get(url, { adapter, lookup, httpAgent, proxy: false })).status, 200)
  }
})

test('fetch and undici: plain http to this machine through a proxy is an error, and the proxy is shown no key', async (t) => {
  const proxy = await proxyOf(t)
  const url = await echo(t, told)
  const keys = await keysOf(t)
  const options = { allowedOrigins: [url], scheme: KEY }
  const proxies = {
    tunnel: new ProxyAgent(proxy.url),
    forward: new ProxyAgent({ uri: proxy.url, proxyTunnel: false }),
    environment: new EnvHttpProxyAgent({ httpProxy: proxy.url, noProxy: '' }),
    retried: new RetryAgent(new ProxyAgent(proxy.url)),
  }
  for (const [name, dispatcher] of Object.entries(proxies)) {
    const composed = dispatcher.compose(keyswapInterceptor(keys, options))
    const fetch = createFetch(keys, { ...options, fetch: (where, init) => undiciFetch(where, { ...init, dispatcher }) })
    const sends = [() => request(url, { dispatcher: composed }), () => undiciFetch(url, { dispatcher: composed }), () => fetch(url)]
    for (const send of sends) {
      const error = await send().catch((error) => error)
      assert.equal((error.cause ?? error).code, 'insecure_url', `${name}: ${inspect(error)}`)
    }
    // Without a credential it is as the program wants.
    const { headers } = await (await undiciFetch(url, { dispatcher })).json()
    assert.equal(headers['x-api-key'], undefined)
    await dispatcher.close()
  }
  assert.ok(proxy.shown.length > 0 && !JSON.stringify(proxy.shown).includes(SECRET), proxy.shown)
  const excepted = new EnvHttpProxyAgent({ httpProxy: proxy.url, noProxy: '127.0.0.1' })
  const { statusCode, body } = await request(url, { dispatcher: excepted.compose(keyswapInterceptor(keys, options)) })
  await body.dump()
  assert.equal(statusCode, 200)
  await excepted.close()
})

test('fetch and undici: localhost that leads to another machine is shown no key', async (t) => {
  let seen = 0
  const url = (await echo(t, (_, response) => response.end(String((seen += 1))))).replace('127.0.0.1', 'localhost')
  const keys = await keysOf(t)
  const options = { allowedOrigins: [url], scheme: bearer() }
  function connect({ port }, tell) {
    const socket = net.connect(port, '127.0.0.1', () => tell(null, socket))
    // As if the resolver had said so.
    Object.defineProperty(socket, 'remoteAddress', { value: '192.0.2.1' })
  }
  const dispatcher = new Agent({ connect })
  const fetch = createFetch(keys, { ...options, fetch: (where, init) => undiciFetch(where, { ...init, dispatcher }) })
  await assert.rejects(fetch(url), { code: 'insecure_url' })
  await assert.rejects(request(url, { dispatcher: dispatcher.compose(keyswapInterceptor(keys, options)) }), { code: 'insecure_url' })
  assert.equal(seen, 0)
})

test('axios: a version that shows proxies what goes over https is refused', async (t) => {
  environment(t, { KEYSWAP_PEERS: '{"axios": "axios-leaking"}', NODE_OPTIONS: `--import ${join(import.meta.dirname, 'peers.mjs')}` })
  const { stdout, stderr } = await program(`
    import { KeySwap } from 'keyswap'
    import { keyswapAdapter } from 'keyswap/axios'
    const keys = new KeySwap(() => ({ current: { id: 'k1', key: 'key' } }))
    try {
      keyswapAdapter(keys, { allowedOrigins: ['https://api.example.com'] })
    } catch (error) {
      console.log(error.name, error.code, error.message)
    }
  `)
  assert.match(stdout, /^KeyswapError invalid_config axios 1\.16\.0 .* install axios 1\.16\.1 or newer$/m, stderr)
})
