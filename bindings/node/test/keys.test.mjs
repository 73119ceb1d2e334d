// The handle: reading, waiting, events, sources, errors, secrets.
import assert from 'node:assert/strict'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { inspect } from 'node:util'

import { command, createFetch, endpoint, env, file, firstOf, json, KeySwap, KeyswapError } from 'keyswap'

import { FAST, KEY, ROOT, waitFor, worldOf } from './world.mjs'

const native = (await import('../native.js')).default

/** A handle whose source is this, to be closed when the test ends. */
function opened(t, source, options) {
  const keys = new KeySwap(source, options)
  t.after(() => keys.close())
  return keys
}

function coded(code, words = '') {
  return (error) => error instanceof KeyswapError && error.code === code && error.message.includes(words)
}

test('a handle reads what the endpoint shows, and swaps', async (t) => {
  const world = await worldOf(t)
  const keys = await KeySwap.follow(world.source(), { policy: FAST })
  t.after(() => keys.close())
  const now = keys.current
  assert.equal(now.id, 'k1')
  assert.equal(keys.current, now, 'one object an epoch')
  assert.match(now.reveal(), /^ks_/)
  assert.equal(keys.key(), now.reveal())
  assert.equal(await keys.akey(), now.reveal())
  assert.throws(() => now.reveal('secret'), RangeError)
  const { epoch } = keys
  const events = keys.events()
  const seen = []
  keys.on('swapped', (event) => seen.push(event.to)).on('event', (event) => seen.push(event.name))
  await world.do('revoke')
  await keys.refresh()
  assert.equal((await waitFor(events, 'swapped')).to, 'k2')
  assert.equal(keys.current.id, 'k2')
  assert.notEqual(keys.epoch, epoch)
  assert.deepEqual(keys.credentials.revoked, ['k1'])
  assert.equal(keys.credentials.generation, 2)
  assert.equal(keys.credentials.primary.id, 'k2')
  assert.equal(keys.stats.inUse, 'k2')
  assert.equal(keys.stats.fetchesChanged, 2)
  await new Promise(setImmediate)
  assert.ok(seen.includes('k2') && seen.includes('swapped'), `${seen}`)
})

test('previous credentials and their times', async (t) => {
  const expiresAt = new Date(Date.now() + 3_600_000)
  const keys = opened(t, () => ({
    generation: 7,
    current: { id: 'k7', key: 'a', secret: 'b', version: '7', expiresAt, scopes: ['x'] },
    previous: [{ id: 'k6', material: { key: 'c' }, graceExpiresAt: expiresAt.getTime() }],
    next: { id: 'k8', key: 'd', activate_at: expiresAt.toISOString(), created_at: 1000 },
  }))
  await keys.ready()
  const { primary, previous, next, generation } = keys.credentials
  assert.deepEqual([primary.expiresAt, primary.scopes, primary.version], [expiresAt, ['x'], '7'])
  assert.equal(primary.reveal('secret'), 'b')
  assert.deepEqual([previous[0].id, previous[0].graceExpiresAt], ['k6', expiresAt])
  assert.deepEqual([next.id, next.activateAt, next.createdAt, generation], ['k8', expiresAt, new Date(1_000_000), 7])
})

test('closing ends it for all that use it', async (t) => {
  const world = await worldOf(t)
  const keys = await world.ready()
  const events = keys.events()
  keys.close()
  assert.throws(() => keys.current, coded('closed'))
  await assert.rejects(keys.refresh(), coded('closed'))
  while (!(await events.next()).done);
  // What `await using` calls; the syntax is newer than Node 20.
  const disposed = await KeySwap.follow(world.source())
  await disposed[Symbol.asyncDispose]()
  assert.throws(() => disposed.current, coded('closed'))
  const gone = await KeySwap.follow(world.source())
  await gone.shutdown()
  assert.throws(() => gone.current, coded('closed'))
})

test('files and variables are sources', async (t) => {
  const path = join(mkdtempSync(join(tmpdir(), 'keyswap-')), 'key')
  writeFileSync(path, 'of-the-file\n')
  const keys = opened(t, file(path))
  await keys.ready()
  assert.equal(keys.current.reveal(), 'of-the-file')
  process.env.KEYSWAP_TEST_KEY = 'of-the-variable'
  const other = opened(t, env('KEYSWAP_TEST_KEY', { id: 'dev' }))
  await other.ready()
  assert.deepEqual([other.current.id, other.current.reveal()], ['dev', 'of-the-variable'])
})

test('a file stands in for a store until that works', async (t) => {
  const path = join(mkdtempSync(join(tmpdir(), 'keyswap-')), 'key')
  writeFileSync(path, 'of the file')
  let isDown = true
  const store = () => {
    if (isDown) throw new Error('the store is down')
    return { current: { id: 'k2', key: 'of the store' } }
  }
  const keys = opened(t, firstOf(store, file(path)), { policy: FAST })
  await keys.ready()
  assert.equal(keys.current.reveal(), 'of the file')
  isDown = false
  await keys.refresh()
  assert.equal(keys.current.reveal(), 'of the store')
  isDown = true
  await assert.rejects(keys.refresh(), coded('source_failed'))
  assert.equal(keys.current.reveal(), 'of the store', 'it is good, and the file is not asked')
  assert.throws(() => firstOf(), coded('invalid_config'))
})

test('a function is a source, and its failures displace nothing', async (t) => {
  let answer = async () => ({ current: { id: 'k1', key: 's3cr3t-1' } })
  const keys = opened(t, () => answer(), { policy: { ...FAST, fetchTimeout: 200 } })
  await keys.ready()
  const junk = [
    [() => { throw new TypeError('s3cr3t') }, 'threw TypeError', 'source_failed'],
    [async () => { throw 's3cr3t' }, 'threw string', 'source_failed'],
    [() => undefined, 'must return an object', 'source_failed'],
    [() => ['s3cr3t'], 'not an array', 'source_failed'],
    [() => 's3cr3t', 'not string', 'source_failed'],
    [() => ({}), 'current is missing', 'malformed'],
    [() => ({ current: { id: 's3cr3t key', key: 'x' } }), 'id must match', 'malformed'],
    [() => ({ current: { id: 'k', key: 7 } }), 'material must be', 'malformed'],
    [() => ({ current: { id: 'k', key: 's3cr3t', big: 7n } }), 'JSON cannot hold', 'source_failed'],
    [() => ({ current: { id: 'k', key: 'x', expires_at: 'soon' } }), 'RFC 3339', 'malformed'],
    [() => new Promise(() => {}), '', 'timeout'],
  ]
  for (const [work, words, code] of junk) {
    answer = work
    const error = await keys.refresh({ timeout: 5000 }).then(() => assert.fail(words), (error) => error)
    assert.ok(error instanceof KeyswapError, `${error}`)
    assert.deepEqual([error.code, error.message.includes(words)], [code, true], error.message)
    assert.ok(!inspect(error).includes('s3cr3t'), inspect(error))
    assert.equal(keys.current.id, 'k1')
  }
  answer = () => ({ current: { id: 'k2', key: 's3cr3t-2' } })
  await keys.refresh()
  assert.equal(keys.credentials.primary.id, 'k2')
})

test('a function that mints is called by the life of what it made', async (t) => {
  const calls = { minting: 0, reading: 0 }
  const asked = (kind) => () => ({ current: { id: 'k1', key: String((calls[kind] += 1)) } })
  const policy = { ...FAST, poll: 50 }
  const minting = opened(t, asked('minting'), { policy, mints: true })
  await minting.ready()
  opened(t, asked('reading'), { policy })
  while (calls.reading < 5) await new Promise(setImmediate)
  assert.equal(calls.minting, 1)
})

test('a set that the URL does not name, and files of certificates', async (t) => {
  const world = await worldOf(t)
  await opened(t, world.source({ setName: world.setUrl.split('/').at(-1) })).ready()
  await assert.rejects(opened(t, world.source({ setName: 'other' })).ready(), coded('malformed', 'other'))
  const junk = join(mkdtempSync(join(tmpdir(), 'keyswap-')), 'junk.pem')
  writeFileSync(junk, 'junk')
  for (const name of ['rootCertificatesFile', 'clientCertificateFile']) {
    await assert.rejects(opened(t, world.source({ [name]: junk })).ready(), coded('invalid_config', 'junk.pem'))
  }
})

test('a function that blocks the loop is late, and the held credential stays', async (t) => {
  let isSlow = false
  const keys = opened(t, () => {
    const until = Date.now() + (isSlow ? 400 : 0)
    while (Date.now() < until);
    return { current: { id: 'k1', key: 'x' } }
  }, { policy: { ...FAST, fetchTimeout: 100 } })
  await keys.ready()
  isSlow = true
  await assert.rejects(keys.refresh(), coded('timeout'))
  assert.equal(keys.current.id, 'k1')
})

test('bad input is told at once', () => {
  assert.throws(() => new KeySwap('not a url'), coded('invalid_config'))
  assert.throws(() => new KeySwap('ftp://keys.example.com/x'), KeyswapError)
  assert.throws(() => new KeySwap(7), TypeError)
  assert.throws(() => new KeySwap(null), TypeError)
  assert.throws(() => endpoint('https://k.example.com/x', { bootstrap: 7 }), TypeError)
  assert.throws(() => endpoint('https://k.example.com/x', { bootstrap: 'a', bootstrapFile: 'b' }), TypeError)
  assert.throws(() => endpoint('https://k.example.com/x', { timeout: -1 }), coded('invalid_config', 'timeout'))
  assert.throws(() => endpoint('https://k.example.com/x', { signedBy: 'junk' }), coded('invalid_config'))
  for (const name of ['rootCertificates', 'clientCertificate']) {
    assert.throws(() => endpoint('https://k.example.com/x', { [name]: 'a', [`${name}File`]: 'b' }), TypeError)
  }
  assert.throws(() => new KeySwap('https://k.example.com/x', { mints: true }), TypeError)
  const source = () => ({ current: { id: 'k', key: 'x' } })
  assert.throws(() => new KeySwap(source, { policy: { poll: -1 } }), coded('invalid_config'))
  assert.throws(() => new KeySwap(source, { policy: { polls: 1 } }), coded('invalid_config', 'polls'))
})

test('waits end by their limit, and by a signal', async (t) => {
  const world = await worldOf(t)
  await world.do('endpoint', { fault: 'hang' })
  const keys = world.keys()
  await assert.rejects(keys.ready({ timeout: 30 }), coded('timeout'))
  const abort = new AbortController()
  const waiting = keys.ready({ signal: abort.signal })
  setImmediate(() => abort.abort(new Error('enough')))
  await assert.rejects(waiting, { message: 'enough' })
  await assert.rejects(keys.ready({ signal: AbortSignal.abort() }), { name: 'AbortError' })
  assert.throws(() => keys.current, coded('not_ready'))
})

test('an error has a code, a status, and a stack that shows who waited', async (t) => {
  const world = await worldOf(t)
  await world.do('endpoint', { fault: 'bootstrap_invalid' })
  async function whoWaited() {
    await KeySwap.follow(world.source())
  }
  const error = await whoWaited().catch((error) => error)
  assert.deepEqual([error.name, error.code, error.status], ['KeyswapError', 'bootstrap_rejected', 401])
  assert.match(error.message, /option `bootstrap`/)
  assert.match(error.stack, /whoWaited/)
})

test('a bootstrap credential may come from a function, or be wrong to leave out', async (t) => {
  const world = await worldOf(t)
  const asked = opened(t, world.source({ bootstrap: async () => world.bootstrap }))
  await asked.ready()
  const none = opened(t, world.source({ bootstrap: false }))
  await assert.rejects(none.ready(), coded('bootstrap_rejected'))
  const wrong = opened(t, world.source({ bootstrap: () => 7 }))
  await assert.rejects(wrong.ready(), coded('source_failed', 'must return a string'))
})

test('nothing that can be printed shows a key', async (t) => {
  const world = await worldOf(t)
  const keys = await world.ready()
  const secret = keys.key()
  const shown = [keys, keys.current, keys.credentials, keys.stats, world.source(), keys.events()]
  for (const each of shown) {
    const text = `${inspect(each, { depth: 9, showHidden: true })} ${JSON.stringify(each)} ${String(each)}`
    assert.ok(!text.includes(secret) && !text.includes(world.bootstrap), text)
  }
  assert.throws(() => structuredClone(keys.current).reveal())
})

test('codes and names are those of the core', async () => {
  const { readFileSync } = await import('node:fs')
  const snake = (name) => name.replace(/[A-Z]/g, '_$&').toLowerCase()
  const listed = (name) => {
    const text = readFileSync(new URL(`../lib/generated/${name}.ts`, import.meta.url), 'utf8')
    return [...text.matchAll(/^ {2}\| '(\w+)'/gm)].map((found) => found[1])
  }
  assert.deepEqual(listed('errors').sort(), [...new Set(native.errorCodes())].sort())
  assert.ok(!listed('events').some((name) => name.includes('_')))
  assert.deepEqual(listed('events').map(snake).sort(), [...native.eventNames()].sort())
  // Each event has its fields, and they are those of the record that it comes from.
  const told = readFileSync(new URL('../lib/generated/events.ts', import.meta.url), 'utf8')
  const [fields] = /^export interface EventFields \{.*?^\}/ms.exec(told)
  const events = [...fields.matchAll(/^ {2}([a-zA-Z]+): \{\n(.*?)^ {2}\}/gms)]
  assert.deepEqual(events.map(([, name]) => snake(name)).sort(), [...native.eventNames()].sort())
  const shown = events.flatMap(([, , each]) => [...each.matchAll(/^ {4}([a-zA-Z]+)\??:/gm)].map((found) => snake(found[1])))
  const records = readFileSync(join(ROOT, 'bindings/host/src/records.rs'), 'utf8')
  const [record] = /^pub struct EventRecord \{.*?^\}/ms.exec(records)
  const recorded = [...record.matchAll(/^ {4}pub ([a-z_]+):/gm)].map((found) => found[1])
  // What is told in seconds is `forMs` here.
  assert.deepEqual([...new Set(shown), 'name', 'seconds', 'text'].sort(), recorded.sort())
  const policy = readFileSync(join(ROOT, 'core/src/policy.rs'), 'utf8')
  const [struct] = /^pub struct Policy \{.*?^\}/ms.exec(policy)
  const numbers = [...struct.matchAll(/^ {4}pub ([a-z_]+):/gm)].map((found) => found[1])
  const typed = readFileSync(new URL('../lib/generated/policy.ts', import.meta.url), 'utf8')
  const [written] = /^export interface Policy \{.*?^\}/ms.exec(typed)
  const names = [...written.matchAll(/^ {2}([a-zA-Z]+)\?:/gm)].map((found) => snake(found[1]))
  assert.deepEqual(names.sort(), numbers.sort())
})

test('an event is an object: its names in camel case, its times in milliseconds', async (t) => {
  let reads = 0
  const source = () => {
    reads += 1
    if (reads === 2) throw new Error('not now')
    const old = { id: 'k1', key: 'x' }
    return reads === 1 ? { current: old } : { current: { id: 'k2', key: 'y' }, previous: [old] }
  }
  // To wait for an event keeps no process alive.
  const alive = setInterval(() => undefined, 1000)
  t.after(() => clearInterval(alive))
  const keys = opened(t, source, { policy: { ...FAST, lagging: 1000 } })
  const events = keys.events()
  await keys.ready()
  await assert.rejects(keys.refresh(), coded('source_failed'))
  const { retryInMs, text, ...failed } = await waitFor(events, 'fetchFailed')
  assert.deepEqual(failed, { name: 'fetchFailed', error: 'source_failed' })
  assert.ok(retryInMs >= 0 && text.length > 0)
  await keys.refresh()
  const candidate = await waitFor(events, 'candidate')
  assert.deepEqual([candidate.credential, candidate.inUse], ['k2', 'k1'])
  const lagging = await waitFor(events, 'lagging')
  assert.deepEqual([lagging.credential, lagging.forMs, 'seconds' in lagging], ['k2', 1000, false])
  assert.ok(Object.isFrozen(lagging))
})

test('an observer that is slow is told what it missed', async (t) => {
  const keys = opened(t, () => ({ current: { id: 'k1', key: 'x' } }), { policy: FAST })
  await keys.ready()
  const events = keys.events()
  for (let nth = 0; nth < 1030; nth += 1) events.take({ name: 'notModified', text: '' })
  const { value } = await events.next()
  assert.equal(value.name, 'lagged')
  assert.ok(value.missed >= 6)
})

test('a handle that nobody holds ends', async (t) => {
  const world = await worldOf(t)
  const code = `
    import { KeySwap, endpoint } from 'keyswap'
    const [url, bootstrap] = process.argv.slice(1)
    const seen = []
    const registry = new FinalizationRegistry((n) => seen.push(n))
    for (let n = 0; n < 50; n += 1) {
      const keys = await KeySwap.follow(endpoint(url, { bootstrap }))
      registry.register(keys, n)
    }
    for (let n = 0; n < 20 && seen.length < 49; n += 1) { gc(); await new Promise((r) => setTimeout(r, 10)) }
    console.log(seen.length)
  `
  const { spawnSync } = await import('node:child_process')
  const told = spawnSync(process.execPath, ['--expose-gc', '--input-type=module', '-e', code, world.setUrl, world.bootstrap], {
    cwd: join(import.meta.dirname, '..'), encoding: 'utf8',
  })
  assert.equal(told.stderr, '')
  assert.ok(Number(told.stdout) >= 45, told.stdout)
})

// ---- keys that stand elsewhere ----

const FETCH = `
const answer = await fetch(process.argv[1], { headers: { authorization: 'Bearer ' + process.env.TOKEN } })
const { current } = await answer.json()
console.log(JSON.stringify({ current: { id: current.id, key: current.material.key } }))`

const SOURCES = {
  // The endpoint's documents are JSON as any other.
  json: (world) =>
    json(world.setUrl, {
      within: '/current',
      key: '/material/key',
      id: '/id',
      expiresAt: '/expires_at',
      previous: '/previous',
      headers: new Headers({ 'x-team': 'trading' }),
      bootstrap: async () => world.bootstrap,
      timeout: 8000,
    }),
  command: (world) =>
    command([process.execPath, '--input-type=module', '-e', FETCH, world.setUrl], {
      env: { TOKEN: world.bootstrap },
      timeout: 8000,
    }),
}

for (const [name, source] of Object.entries(SOURCES)) {
  test(`no request fails when the key of a ${name} rotates`, async (t) => {
    const world = await worldOf(t)
    const keys = await KeySwap.follow(source(world), { policy: FAST })
    t.after(() => keys.close())
    const fetch = createFetch(keys, { baseURL: world.apiUrl, scheme: KEY })
    for (let rotation = 1; rotation <= 3; rotation++) {
      // That a key was accepted is told in the background.
      while (keys.current.id !== `k${rotation}`) await new Promise((resolve) => setTimeout(resolve, 5))
      for (let nth = 0; nth < 3; nth++) assert.equal((await fetch('/v1/price')).status, 200)
      await world.do('cut')
      assert.equal((await fetch('/v1/price')).status, 200)
    }
    assert.ok(keys.stats.rejections > 0)
  })
}

test('what is wrong with a source is told at once and shows nothing', () => {
  const url = 'https://keys.example.com/trading'
  for (const made of [
    () => json('keys.example.com'),
    () => json(url, { key: 'api_key' }),
    () => json(url, { headers: { 'a b': 's3cr3t' } }),
    () => json(url, { bootstrap: 's3cr3t', bootstrapHeader: 'x', bootstrapBasic: true }),
    () => json(url, { regions: [endpoint(url)] }),
    () => command([]),
    () => command(['op'], { env: { 'A=B': 's3cr3t' } }),
  ]) {
    assert.throws(made, (error) => {
      assert.ok(!inspect(error).includes('s3cr3t'))
      return error instanceof KeyswapError && error.code === 'invalid_config'
    })
  }
  assert.throws(() => command('op read s3cr3t'), TypeError)
  const shown = inspect([command(['op', 's3cr3t']), json(url, { bootstrap: 's3cr3t', regions: [url] })])
  assert.ok(!shown.includes('s3cr3t') && shown.includes('op'))
})

test('a command that is not there says so', async () => {
  await assert.rejects(KeySwap.follow(command(['keyswap-no-such-program'])), { code: 'invalid_config' })
})
