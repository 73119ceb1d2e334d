// What a program is made of may be replaced, or come from elsewhere: another copy of undici, another realm, a worker.
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import vm from 'node:vm'

import { Client, createFetch, KeySwap } from 'keyswap'
import { fetch as undiciFetch, FormData as UndiciFormData, Headers as UndiciHeaders, Request as UndiciRequest } from 'undici'

import { echo, told, WAYS } from './ways.mjs'
import { FAST, KEY, program, worldOf } from './world.mjs'

/** An API that refuses the first key, and a source that has another one. */
async function rotating(t) {
  const sends = []
  const url = await echo(t, (seen, response) => {
    sends.push(seen)
    if (seen.headers['x-api-key'] === 'bad') response.writeHead(401).end('no')
    else told(seen, response)
  })
  let asked = 0
  const keys = await KeySwap.follow(() => {
    asked += 1
    return { current: asked === 1 ? { id: 'k1', key: 'bad' } : { id: 'k2', key: 'good' } }
  }, { policy: FAST })
  t.after(() => keys.close())
  return { url, sends, keys }
}

for (const [kind, send] of [['the global fetch', undefined], ["undici's own fetch", undiciFetch]]) {
  test(`fetch: a Request, Headers and a form of undici's own package, over ${kind}`, async (t) => {
    const { url, sends, keys } = await rotating(t)
    const fetch = createFetch(keys, { baseURL: url, scheme: KEY, ...(send && { fetch: send }) })
    const headers = new UndiciHeaders({ 'x-own': '1', 'content-type': 'text/plain' })
    const seen = await (await fetch(new UndiciRequest(`${url}/r`, { method: 'POST', body: 'text', headers }))).json()
    assert.deepEqual([seen.url, seen.body, seen.headers['x-own'], seen.headers['content-type']], ['/r', 'text', '1', 'text/plain'])
    assert.equal(sends.length, 2)
    const again = await (await fetch('/h', { method: 'PUT', body: 'text', headers })).json()
    assert.deepEqual([again.method, again.headers['x-own'], again.headers['x-api-key']], ['PUT', '1', 'good'])
    const request = new UndiciRequest(`${url}/r`, { method: 'POST', body: 'text' })
    await fetch(request)
    assert.equal(request.bodyUsed, true)
    await assert.rejects(fetch(request), TypeError)
    if (send === undefined) return
    const form = new UndiciFormData()
    form.append('a', '1')
    assert.match((await (await fetch('/f', { method: 'POST', body: form })).json()).body, /name="a"/)
  })
}

test('fetch: one that is replaced later is used, as mocks do', async (t) => {
  const { url, keys } = await rotating(t)
  const fetch = createFetch(keys, { baseURL: url, scheme: KEY })
  const real = globalThis.fetch
  t.after(() => (globalThis.fetch = real))
  const asked = []
  globalThis.fetch = async (input, init) => {
    asked.push(new Request(input, init).headers.get('x-api-key'))
    return new Response('mocked', { status: asked.length === 1 ? 401 : 200 })
  }
  const response = await fetch('/x')
  assert.deepEqual([response.status, await response.text(), asked], [200, 'mocked', ['bad', 'good']])
})

for (const [name, way] of Object.entries(WAYS)) {
  test(`${name}: headers and bodies of another realm`, async (t) => {
    const { url, sends, keys } = await rotating(t)
    const send = way({ apiUrl: url }, keys)
    const context = vm.createContext({ Buffer })
    const headers = vm.runInContext("({ 'x-own': '1', 'content-type': 'text/plain' })", context)
    const body = vm.runInContext("new Uint8Array([116, 101, 120, 116])", context)
    const { text } = await send('/x', { method: 'POST', headers, body })
    const seen = JSON.parse(text)
    assert.deepEqual([seen.body, seen.headers['x-own'], seen.headers['x-api-key']], ['text', '1', 'good'])
    assert.equal(sends.length, 2)
  })
}

test('fetch and the client: a signal of another make ends a wait', async (t) => {
  const world = await worldOf(t)
  await world.do('endpoint', { fault: 'hang' })
  const keys = world.keys()
  class Signal extends EventTarget {
    aborted = false
    reason = undefined
    abort() {
      this.aborted = true
      this.reason = new Error('given up')
      this.dispatchEvent(new Event('abort'))
    }
  }
  for (const send of [
    (options) => createFetch(keys, { baseURL: world.apiUrl, scheme: KEY })('/x', options),
    (options) => createFetch(keys, { baseURL: world.apiUrl, scheme: KEY, timeout: 60_000 })('/x', options),
    (options) => new Client(keys, { baseURL: world.apiUrl, scheme: KEY }).get('/x', options),
  ]) {
    const signal = new Signal()
    const given = assert.rejects(send({ signal }), { message: 'given up' })
    setTimeout(() => signal.abort(), 20)
    await given
  }
})

/** As Jest does: a module of its own realm, with an environment of its own. */
test('the package in another realm: it works there, with the environment of that realm', async (t) => {
  const world = await worldOf(t)
  const require = createRequire(import.meta.url)
  const Module = require('node:module')
  const sandbox = vm.createContext({
    console, Buffer, URL, URLSearchParams, Headers, Request, Response, FormData, Blob, AbortSignal, AbortController, fetch,
    DOMException, setTimeout, clearTimeout, setImmediate, structuredClone, TextDecoder, TextEncoder, ReadableStream, performance,
    process: Object.assign(Object.create(process), { env: { KEYSWAP_BOOTSTRAP: world.bootstrap, OWN_KEY: 'of the realm' } }),
  })
  const loaded = new Map()
  const load = (file) => {
    if (loaded.has(file)) return loaded.get(file).exports
    const module = { exports: {} }
    loaded.set(file, module)
    const code = require('node:fs').readFileSync(file, 'utf8')
    const own = Module.createRequire(file)
    const inner = (name) => {
      const found = own.resolve(name)
      return found.startsWith('/') && found.endsWith('.js') ? load(found) : own(name)
    }
    vm.runInContext(Module.wrap(code), sandbox, { filename: file })(module.exports, inner, module, file, '')
    return module.exports
  }
  const there = load(require.resolve('keyswap'))
  assert.notEqual(there.KeySwap, KeySwap)
  const keys = await there.KeySwap.follow(world.setUrl, { policy: FAST })
  t.after(() => keys.close())
  const send = there.createFetch(keys, { baseURL: world.apiUrl, scheme: there.header('x-api-key') })
  assert.equal((await (await send('/v1/price')).json()).credential, 'k1')
  await world.do('cut')
  assert.equal((await (await send('/v1/orders', { method: 'POST', body: '{"order": 1}' })).json()).credential, 'k2')
  const own = await there.KeySwap.follow(there.env('OWN_KEY'))
  t.after(() => own.close())
  assert.equal(own.current.reveal(), 'of the realm')
})

test('a worker sees the environment that it was given', async (t) => {
  const world = await worldOf(t)
  const inside = `
    const { parentPort, workerData } = require('node:worker_threads')
    const { env, KeySwap } = require('keyswap')
    ;(async () => {
      const keys = await KeySwap.follow(workerData)
      const own = await KeySwap.follow(env('OWN_KEY'))
      const none = await KeySwap.follow(env('HOME')).catch(({ code }) => code)
      console.log(keys.current.id, own.current.reveal(), none)
    })()`
  // In a process of its own: in each, that variable serves one endpoint.
  const code = `
    import { Worker } from 'node:worker_threads'
    const [workerData, KEYSWAP_BOOTSTRAP] = process.argv.slice(1)
    new Worker(${JSON.stringify(inside)}, {
      eval: true, execArgv: [], env: { KEYSWAP_BOOTSTRAP, OWN_KEY: 'of-the-worker' }, workerData,
    })`
  const { stdout, stderr } = await program(code, world.setUrl, world.bootstrap)
  assert.deepEqual([stdout, stderr], ['k1 of-the-worker invalid_config\n', ''])
})

test('the environment may be set at run time', async (t) => {
  const world = await worldOf(t)
  const code = `
    import { KeySwap } from 'keyswap'
    const [url, bootstrap] = process.argv.slice(1)
    const before = new KeySwap(url)
    const { code } = await before.ready().catch((error) => error)
    process.env.KEYSWAP_BOOTSTRAP = bootstrap
    const keys = await KeySwap.follow(url)
    console.log(code, keys.current.id)`
  const { stdout, stderr } = await program(code, world.setUrl, world.bootstrap)
  assert.deepEqual([stdout, stderr], ['invalid_config k1\n', ''])
})
