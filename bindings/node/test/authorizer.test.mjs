// What a program brings to the core, or drives itself: attempts, signatures, a log. And the errors that come of it.
import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { test } from 'node:test'
import { inspect } from 'node:util'

import { Authorizer, basic, Client, header, KeySwap, KeyswapError, setLogger, sign } from 'keyswap'

import { FAST, program, worldOf } from './world.mjs'
import { echo, told, WAYS } from './ways.mjs'

const TWO = { current: { id: 'k2', key: 'newer' }, previous: [{ id: 'k1', key: 'older' }] }
const URL_ = 'https://api.example.com/v1/price'

async function followed(t, set, options) {
  const keys = await KeySwap.follow(() => set, { policy: { ...FAST, wait: 300 }, ...options })
  t.after(() => keys.close())
  return keys
}

function coded(code, words = '') {
  return (error) => error instanceof KeyswapError && error.code === code && error.message.includes(words)
}

test('an attempt goes on with the older key, and shows none', async (t) => {
  const keys = await followed(t, TWO)
  const authorizer = new Authorizer(keys, { scheme: header('X-Key'), allowedOrigins: ['https://api.example.com'] })
  const attempt = authorizer.begin(URL_)
  assert.deepEqual([attempt.step, attempt.credentialId, attempt.sends], ['send', 'k2', 1])
  const patch = await attempt.apply('GET', URL_)
  assert.deepEqual([patch.names, patch.reveal()], [['x-key'], { 'X-Key': 'newer' }])
  assert.ok(!inspect([patch, attempt, authorizer], { depth: 9, showHidden: true }).includes('newer'))
  assert.equal(JSON.stringify([patch, attempt]), '[{},{}]')
  assert.equal(attempt.response(401, new Headers()), 'send')
  assert.equal(attempt.isRejected, true)
  assert.deepEqual((await attempt.apply('GET', URL_)).reveal(), { 'X-Key': 'older' })
  assert.equal(attempt.response(200, {}), 'return')
  attempt.close()
  assert.throws(() => attempt.step, coded('closed'))
  assert.throws(() => authorizer.begin('https://evil.example.com/'), coded('origin_not_allowed'))
  assert.throws(() => authorizer.begin('no url'), coded('invalid_config', 'whole URL'))
  assert.throws(() => authorizer.begin(URL_, { timeout: -1 }), coded('invalid_config', 'deadline'))
  assert.throws(() => authorizer.yields(patch, { 'X-KEY': 'own' }), coded('invalid_config', 'x-key'))
})

test('an attempt carries nothing elsewhere, waits, and says why in vain', async (t) => {
  let asked = 0
  const keys = await KeySwap.follow(() => {
    asked += 1
    if (asked > 1) throw new TypeError('s3cr3t')
    return { current: { id: 'k1', key: 'only' } }
  }, { policy: { ...FAST, wait: 900 } })
  t.after(() => keys.close())
  const authorizer = new Authorizer(keys, { scheme: basic(), allowedOrigins: ['https://api.example.com'] })
  const attempt = authorizer.begin(URL_, { timeout: 5000 })
  assert.deepEqual((await attempt.apply('GET', 'https://evil.example.com/')).reveal(), {})
  assert.deepEqual((await attempt.apply('GET', URL_)).names, ['authorization'])
  assert.equal(attempt.response(401, { 'x-a': '1' }), 'wait')
  const waiting = attempt.wait()
  assert.throws(() => attempt.step, coded('closed', 'in use elsewhere'))
  // How often it is tried again before it has waited in vain depends on the time.
  for (let step = await waiting; step !== 'return'; ) {
    assert.ok(['send', 'wait'].includes(step), step)
    if (step === 'wait') step = await attempt.wait()
    else {
      await attempt.apply('GET', URL_)
      step = attempt.response(401, {})
    }
  }
  assert.equal(attempt.cause.code, 'source_failed')
  const other = authorizer.begin(URL_)
  assert.equal(other.failed('connect'), 'return')
  const abort = AbortSignal.abort()
  await assert.rejects(authorizer.begin(URL_).wait({ signal: abort }), { name: 'AbortError' })
})

test('what is prepared serves until something changes, and a redirect leaves it behind', async (t) => {
  const world = await worldOf(t)
  const keys = await world.ready()
  const authorizer = new Authorizer(keys, { scheme: header('x-api-key'), allowedOrigins: [world.apiUrl] })
  const send = async (patch) => fetch(`${world.apiUrl}/v1/price`, { headers: patch.reveal() })
  // The first send proves the key.
  const attempt = authorizer.begin(`${world.apiUrl}/v1/price`)
  const { status } = await send(await attempt.apply('GET', `${world.apiUrl}/v1/price`))
  attempt.response(status, {})
  attempt.close()
  let prepared
  while ((prepared = authorizer.prepared(world.apiUrl)) === undefined) await new Promise(setImmediate)
  // One that was published meanwhile is looked at again.
  for (let tries = 0; authorizer.prepared(world.apiUrl) !== prepared; tries += 1) {
    assert.ok(tries < 100, 'one object an epoch')
    await new Promise(setImmediate)
    prepared = authorizer.prepared(world.apiUrl)
  }
  assert.equal(authorizer.prepared('https://evil.example.com'), undefined)
  assert.equal((await send(prepared.patch)).status, 200)
  assert.ok(!inspect(prepared, { depth: 9, showHidden: true }).includes(keys.key()))
  const next = prepared.patch.follow({ method: 'POST', url: world.apiUrl }, 303, 'https://evil.example.com/x')
  assert.deepEqual([next.method, next.dropsBody, next.drops.includes('x-api-key')], ['GET', true, true])
  await world.do('cut')
  const response = await send(prepared.patch)
  assert.ok(authorizer.attends(response.status, () => false))
  const after = authorizer.beginAfter(prepared, `${world.apiUrl}/v1/price`)
  let step = after.response(response.status, response.headers)
  let last
  while (step === 'send' || step === 'wait') {
    if (step === 'wait') step = await after.wait()
    else {
      last = await send(await after.apply('GET', `${world.apiUrl}/v1/price`))
      step = after.response(last.status, last.headers)
    }
  }
  assert.deepEqual([step, last.status], ['return', 200])
})

test('a classifier of a program judges what an attempt is shown', async (t) => {
  const keys = await followed(t, TWO)
  const classifier = ({ headers, body }) => {
    if (headers['x-bad'] !== undefined) throw new Error('s3cr3t')
    if (body === undefined) return 'needBody'
    return Buffer.from(body).includes('bad key') ? 'rejected' : 'accepted'
  }
  Object.assign(classifier, { statuses: [200], bodyLimit: 9 })
  const authorizer = new Authorizer(keys, { scheme: header('x-key'), allowedOrigins: [URL_], classifier })
  const begin = async () => {
    const attempt = authorizer.begin(URL_)
    await attempt.apply('GET', URL_)
    return attempt
  }
  const attempt = await begin()
  assert.deepEqual([attempt.response(200, {}), attempt.bodyLimit], ['needBody', 9])
  assert.equal(attempt.response(200, {}, Buffer.from('bad key')), 'send')
  const warned = new Promise((resolve) => process.once('warning', resolve))
  assert.equal((await begin()).response(200, { 'x-bad': '1' }), 'return')
  assert.match((await warned).message, /a classifier threw/)
  assert.equal((await begin()).response(401, {}), 'return', 'it was not to be asked')
})

/** An API that wants each request signed with the newer key, or with any. */
async function signedApi(t, isKnown = () => true) {
  const seen = []
  const url = await echo(t, (message, response) => {
    seen.push(message)
    const { 'x-id': id, 'x-sign': mac, 'content-type': kind = '' } = message.headers
    const text = `${message.method} ${message.url} ${message.body} ${kind}`
    const isRight = createHmac('sha256', `key of ${id}`).update(text).digest('hex') === mac
    response.writeHead(isRight && isKnown(id) ? 200 : 401).end(isRight ? 'signed' : 'not signed')
  })
  return { url, seen }
}

async function mac(credential, { method, url, headers, body, now }) {
  assert.ok(Math.abs(now.getTime() - Date.now()) < 60_000)
  // Signatures may take their time.
  await new Promise(setImmediate)
  const { pathname, search } = new URL(url)
  const text = `${method} ${pathname}${search} ${Buffer.from(body ?? '')} ${headers['content-type'] ?? ''}`
  const made = createHmac('sha256', credential.reveal()).update(text).digest('hex')
  return { headers: { 'X-Id': credential.id, 'x-sign': made } }
}

const SIGNED = { current: { id: 'k2', key: 'key of k2' }, previous: [{ id: 'k1', key: 'key of k1' }] }

for (const [name, way] of Object.entries(WAYS)) {
  test(`${name}: a signature of the program's own covers each send`, async (t) => {
    const { url, seen } = await signedApi(t, (id) => id === 'k1')
    const keys = await followed(t, SIGNED)
    const send = way({ apiUrl: url }, keys, { scheme: sign(mac) })
    const get = await send('/v1/price?x=1')
    assert.deepEqual([get.status, get.text], [200, 'signed'])
    assert.deepEqual(seen.map(({ headers }) => headers['x-id']), ['k2', 'k1'])
    const options = { method: 'POST', body: '{"order": 1}', headers: { 'content-type': 'text/plain' } }
    assert.deepEqual((await send('/v1/orders', options)).text, 'signed')
  })

  test(`${name}: a signature that fails costs its credential, and the request if none is left`, async (t) => {
    const { url, seen } = await signedApi(t)
    const keys = await followed(t, SIGNED)
    const failures = [
      () => { throw new TypeError('s3cr3t') },
      async () => { throw 's3cr3t' },
      () => undefined,
      () => ({ headers: { 'x-sign': 7 } }),
      () => ({ headers: { 'no name': 's3cr3t' } }),
      () => ({ headers: { 'x-sign': 's3cr3t\n' } }),
    ]
    for (const failing of failures) {
      const half = sign((credential, request) => (credential.id === 'k2' ? failing() : mac(credential, request)))
      assert.equal((await way({ apiUrl: url }, keys, { scheme: half })('/')).text, 'signed')
      const sends = seen.length
      const error = await way({ apiUrl: url }, keys, { scheme: sign(failing) })('/').catch((error) => error)
      assert.equal((error.cause?.code ?? error.code), 'scheme_failed', inspect(error))
      assert.ok(!inspect(error, { depth: 9 }).includes('s3cr3t'))
      assert.equal(seen.length, sends, 'nothing was sent')
    }
  })

  test(`${name}: parameters that a signature adds are for those who show no URL`, async (t) => {
    const url = await echo(t, told)
    const keys = await followed(t, SIGNED)
    const scheme = sign(() => ({ query: { sig: 'a b' } }))
    const sent = way({ apiUrl: url }, keys, { scheme })('/x?y=1')
    if (name !== 'client') return assert.rejects(sent, (error) => coded('scheme_failed', 'use Client')(error.cause ?? error))
    const { text, url: shown } = await sent
    assert.equal(JSON.parse(text).url, '/x?y=1&sig=a+b')
    assert.ok(!shown.includes('sig'))
  })
}

test('an attempt asks for the signature of what is sent, and puts it into the query', async (t) => {
  const keys = await followed(t, SIGNED)
  const seen = []
  const scheme = sign((credential, request) => {
    seen.push(request)
    return { headers: { 'x-id': credential.id }, query: { sig: 's' } }
  })
  const authorizer = new Authorizer(keys, { scheme, allowedOrigins: [URL_] })
  assert.deepEqual([authorizer.signs, authorizer.prepared('https://api.example.com')], [true, undefined])
  const attempt = authorizer.begin(URL_)
  const patch = await attempt.apply('POST', URL_, { headers: { 'X-A': '1' }, body: Buffer.from('body') })
  assert.deepEqual([patch.reveal(), patch.revealURL(URL_)], [{ 'x-id': 'k2' }, `${URL_}?sig=s`])
  const [{ method, url, headers, body }] = seen
  assert.deepEqual([method, url, headers, String(body)], ['POST', URL_, { 'x-a': '1' }, 'body'])
  assert.deepEqual((await attempt.apply('POST', 'https://evil.example.com/')).reveal(), {})
  assert.equal(seen.length, 1)
  assert.throws(() => sign('x'), TypeError)
})

test('errors are told as they are, and not as text', async (t) => {
  const world = await worldOf(t)
  await world.do('endpoint', { fault: 'bootstrap_invalid' })
  const error = await KeySwap.follow(world.source()).catch((error) => error)
  assert.deepEqual([error.code, error.status, error.lasting], ['bootstrap_rejected', 401, true])
  const keys = await followed(t, TWO)
  for (const make of [
    () => new Authorizer(keys, { allowedOrigins: [] }),
    () => new Authorizer(keys, { scheme: header('host'), allowedOrigins: [URL_] }),
    () => new Client(keys, { baseURL: 'nowhere' }),
    () => new Client(keys, { baseURL: URL_, headers: { 'no name': 's3cr3t' } }),
  ]) {
    assert.throws(make, (error) => coded('invalid_config')(error) && !error.message.includes('{') && error.lasting)
  }
  assert.throws(() => new Client(keys, { baseURL: 'http://api.example.com' }), coded('insecure_url'))
})

test('a wait that ends too early says the last failure', async (t) => {
  const keys = new KeySwap(() => { throw new TypeError('s3cr3t') }, { policy: { backoffMin: 30_000, backoffMax: 30_000 } })
  t.after(() => keys.close())
  await assert.rejects(keys.ready(), coded('source_failed'))
  const words = 'no fresh credential within 0.05 s; the last failure: the function threw TypeError'
  await assert.rejects(keys.refresh({ timeout: 50 }), coded('timeout', words))
})

test('the log goes to a function or a logger, from a level on, and never with a key', async (t) => {
  t.after(() => setLogger(undefined))
  const world = await worldOf(t)
  const lines = []
  let heard
  const until = (words) => new Promise((resolve) => (heard = (text) => text.includes(words) && resolve()))
  setLogger((level, target, message) => {
    lines.push(`${level} ${target} ${message}`)
    heard?.(message)
  })
  const swapped = until('k1 is in use')
  const keys = await world.ready()
  await swapped
  assert.ok(lines.some((line) => line.startsWith('info keyswap k1 is in use')), `${lines}`)
  assert.ok(lines.every((line) => !line.includes(keys.key()) && !line.includes(world.bootstrap) && !line.startsWith('debug')))
  const failing = []
  const failed = new Promise((resolve) => {
    const nothing = () => {}
    const warn = (message) => failing.push(message) && resolve()
    setLogger({ error: warn, warn, info: nothing, debug: nothing }, { level: 'warn' })
  })
  const before = lines.length
  await world.do('endpoint', { fault: 'bootstrap_invalid' })
  await assert.rejects(keys.refresh())
  await failed
  assert.match(failing[0], /^keyswap: fetch failed/)
  assert.equal(lines.length, before, 'the first one is not asked any more')
})

test('a log keeps no program alive, and ends with its worker', async (t) => {
  const world = await worldOf(t)
  const code = `
    import { Worker } from 'node:worker_threads'
    import { endpoint, KeySwap, setLogger } from 'keyswap'
    const [url, bootstrap] = process.argv.slice(1)
    const worker = new Worker(\`
      import('keyswap').then(({ setLogger }) => setLogger(() => {}))
    \`, { eval: true })
    await new Promise((resolve) => worker.on('exit', resolve))
    let seen = 0
    setLogger(() => (seen += 1), { level: 'debug' })
    const keys = await KeySwap.follow(endpoint(url, { bootstrap }))
    while (seen === 0) await new Promise(setImmediate)
    console.log('heard')`
  const { status, stdout, stderr } = await program(code, world.setUrl, world.bootstrap)
  assert.deepEqual([status, stdout, stderr], [0, 'heard\n', ''])
})
