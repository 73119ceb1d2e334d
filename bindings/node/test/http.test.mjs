// The client and the adapters, each in the same way: nothing leaks, no storm, and what callers pass arrives.
import assert from 'node:assert/strict'
import http from 'node:http'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { inspect } from 'node:util'

import { bearer, KeySwap, KeyswapError, query } from 'keyswap'

import { echo, told, WAYS } from './ways.mjs'
import { FAST, once, waitFor, worldOf } from './world.mjs'

/** A request that nothing helps does not wait long. */
const BRIEF = { ...FAST, wait: 300 }

for (const [name, way] of Object.entries(WAYS)) {
  test(`${name}: a storm of 1000 at a cut with no overlap`, async (t) => {
    const world = await worldOf(t)
    const keys = await world.ready()
    const send = way(world, keys)
    assert.equal((await send('/v1/price')).status, 200)
    const before = await world.counters()
    await world.do('cut')
    const answers = await Promise.all(Array.from({ length: 1000 }, () => send('/v1/price')))
    assert.deepEqual(answers.filter(({ status }) => status !== 200), [])
    const after = await world.counters()
    assert.equal(after['fetch.changed'] - before['fetch.changed'], 1)
    assert.ok(after['api.rejected'] > before['api.rejected'], 'the key was not cut')
  })

  test(`${name}: a redirect to another origin takes no key along`, async (t) => {
    const world = await worldOf(t)
    const send = way(world, await world.ready())
    await send('/redirect')
    assert.equal((await send('/redirect-here')).status, 200)
    await send(`${world.otherUrl}/anything`).catch((error) => assert.equal(error.code, 'origin_not_allowed'))
    const counters = await world.counters()
    assert.equal(counters.leaks, 0)
    assert.ok(counters['api.accepted'] >= 1)
  })

  test(`${name}: what is rejected everywhere is returned as the API said it`, async (t) => {
    const world = await worldOf(t)
    const { status, text } = await way(world, await world.ready({ policy: BRIEF }))('/always-401')
    assert.equal(status, 401)
    assert.ok(text.length > 0)
  })

  test(`${name}: a body is sent again, and one that is a stream once`, async (t) => {
    const world = await worldOf(t)
    const keys = await world.ready()
    const send = way(world, keys)
    await world.do('cut')
    const body = JSON.stringify({ order: 1 })
    assert.equal((await send('/v1/orders', { method: 'POST', body })).status, 200)
    await world.do('cut')
    const events = keys.events()
    const streamed = {
      client: () => ({ body: Readable.from([Buffer.from(body)]) }),
      fetch: () => ({ body: new Blob([body]).stream(), duplex: 'half' }),
      undici: () => ({ body: Readable.from([Buffer.from(body)]) }),
      axios: () => ({ body: Readable.from([Buffer.from(body)]), maxRedirects: 0 }),
    }
    const first = await send('/v1/orders', { method: 'POST', ...streamed[name.split(' ')[0]]() })
    assert.equal(first.status, 401, 'the answer of the API')
    await waitFor(events, 'rejected')
    const then = await send('/v1/orders', { method: 'POST', ...streamed[name.split(' ')[0]]() })
    assert.equal(then.status, 200)
  })

  test(`${name}: headers and bodies arrive`, async (t) => {
    const url = await echo(t, told)
    const keys = await KeySwap.follow(() => ({ current: { id: 'k1', key: 'the-key' } }))
    t.after(() => keys.close())
    const send = way({ apiUrl: url }, keys)
    const seen = JSON.parse((await send('/v1/x?q=1', {
      method: 'PUT', body: 'text', headers: { 'X-Own': 'own', 'content-type': 'text/plain' },
    })).text)
    assert.deepEqual([seen.method, seen.url, seen.body], ['PUT', '/v1/x?q=1', 'text'])
    assert.deepEqual([seen.headers['x-own'], seen.headers['x-api-key']], ['own', 'the-key'])
  })

  test(`${name}: an answer that is large, or late, or broken off`, async (t) => {
    const url = await echo(t, ({ url }, response) => {
      if (url === '/large') response.end('x'.repeat(3_000_000))
      else if (url === '/hang') response.writeHead(200).write('x')
      else response.writeHead(200, { 'content-length': 10 }).write('x', () => response.destroy())
    })
    const keys = await KeySwap.follow(() => ({ current: { id: 'k1', key: 's3cr3t' } }))
    t.after(() => keys.close())
    const send = way({ apiUrl: url }, keys)
    assert.equal((await send('/large')).text.length, 3_000_000)
    const late = await send('/hang', { signal: AbortSignal.timeout(50) }).catch((error) => error)
    assert.ok(late instanceof Error && !inspect(late, { depth: 9 }).includes('s3cr3t'), inspect(late))
    const broken = await send('/broken').catch((error) => error)
    assert.ok(broken instanceof Error && !inspect(broken, { depth: 9 }).includes('s3cr3t'), inspect(broken))
  })

  test(`${name}: no connection is an error that shows no key`, async (t) => {
    const keys = await KeySwap.follow(() => ({ current: { id: 'k1', key: 's3cr3t' } }))
    t.after(() => keys.close())
    const send = way({ apiUrl: 'http://127.0.0.1:1' }, keys, { retries: 0 })
    const error = await send('/x').catch((error) => error)
    assert.ok(error instanceof Error && !inspect(error, { depth: 9 }).includes('s3cr3t'), inspect(error))
  })

  test(`${name}: a classifier finds a refused key in a body`, async (t) => {
    const world = await worldOf(t)
    const keys = await world.ready()
    const classifier = ({ status, body }) => {
      if (status !== 200) return 'other'
      return body === undefined ? 'needBody' : Buffer.from(body).includes('bad_key') ? 'rejected' : 'accepted'
    }
    classifier.statuses = [200, 401]
    const send = way(world, keys, { classifier })
    await world.do('cut')
    const { status, text } = await send('/body-code')
    assert.equal(status, 200)
    assert.equal(JSON.parse(text).credential, 'k2')
  })

  test(`${name}: a classifier that throws, or says what it must not, is only "other"`, async (t) => {
    const world = await worldOf(t)
    const keys = await world.ready({ policy: BRIEF })
    const warned = once(process, 'warning')
    const throwing = way(world, keys, { classifier: () => { throw new Error('s3cr3t') } })
    assert.equal((await throwing('/always-401')).status, 401)
    const [warning] = await warned
    assert.ok(!inspect(warning).includes('s3cr3t'))
    assert.equal((await way(world, keys, { classifier: () => 'bad' })('/always-401')).status, 401)
  })

  test(`${name}: a request that waits for keys may be given up`, async (t) => {
    const world = await worldOf(t)
    await world.do('endpoint', { fault: 'hang' })
    const send = way(world, world.keys())
    const began = performance.now()
    await assert.rejects(send('/v1/price', { signal: AbortSignal.timeout(50) }), { name: /Timeout|Abort|Cancel/ })
    assert.ok(performance.now() - began < 2000)
  })

  test(`${name}: a request that waits after a rejection may be given up`, async (t) => {
    const world = await worldOf(t)
    const keys = await world.ready()
    const send = way(world, keys)
    const events = keys.events()
    await world.do('cut')
    await world.do('endpoint', { fault: 'hang' })
    const giveUp = new AbortController()
    const began = performance.now()
    const given = assert.rejects(send('/v1/price', { signal: giveUp.signal }), { name: /Abort|Cancel/ })
    await waitFor(events, 'rejected')
    giveUp.abort()
    await given
    assert.ok(performance.now() - began < 2000)
  })

  test(`${name}: bad input is told at once`, async (t) => {
    const world = await worldOf(t)
    const keys = world.keys()
    assert.throws(() => way(world, keys, { allowedOrigins: 'https://a.example.com' }), TypeError)
    assert.throws(() => way(world, keys, { allowedOrigins: ['not a url'] }), KeyswapError)
    assert.throws(() => way(world, keys, { allowedOrigins: ['http://a.example.com'] }), { code: 'insecure_url' })
    assert.throws(() => way(world, keys, { classifier: 7 }), TypeError)
    if (name !== 'client') {
      assert.throws(() => way(world, keys, { scheme: query('key') }), { code: 'invalid_config' })
    }
  })
}

for (const [name, way] of Object.entries(WAYS)) {
  test(`${name}: a program's own header of the scheme's name is an error that says so, or wins`, async (t) => {
    const sends = []
    const url = await echo(t, ({ headers }, response) => {
      sends.push(headers.authorization)
      response.writeHead(401).end('no')
    })
    const keys = await KeySwap.follow(() => ({ current: { id: 'k1', key: 'the-key' } }), { policy: BRIEF })
    t.after(() => keys.close())
    const headers = { Authorization: 'Bearer mine' }
    const send = way({ apiUrl: url }, keys, { scheme: bearer() })
    await assert.rejects(async () => send('/x', { headers }), (error) => {
      assert.deepEqual([error.name, error.code], ['KeyswapError', 'invalid_config'])
      return /sets the header authorization itself/.test(error.message) && !/mine|the-key/.test(error.message)
    })
    if (name === 'axios') {
      await assert.rejects(send('/x', { auth: { username: 'u', password: 'p' } }), { code: 'invalid_config' })
    }
    assert.deepEqual(sends, [])
    const yielding = way({ apiUrl: url }, keys, { scheme: bearer(), ownHeaderWins: true })
    const { status, text } = await yielding('/x', { headers })
    assert.deepEqual([status, text, sends], [401, 'no', ['Bearer mine']])
    // What the API said of it says nothing of the credential.
    assert.equal(keys.stats.rejections, 0)
  })

  test(`${name}: a request that says so is sent once`, async (t) => {
    const sends = []
    const url = await echo(t, ({ url }, response) => {
      sends.push(url)
      response.writeHead(401).end('no')
    })
    const keys = await KeySwap.follow(() => ({ current: { id: 'k1', key: 'the-key' }, previous: [{ id: 'k0', key: 'older' }] }), { policy: BRIEF })
    t.after(() => keys.close())
    await way({ apiUrl: url }, keys)('/once', { resend: false })
    if (name !== 'client') await way({ apiUrl: url }, keys, { resend: false })('/once')
    assert.deepEqual(new Set(sends), new Set(['/once']))
    assert.equal(sends.length, name === 'client' ? 1 : 2)
    assert.equal((await way({ apiUrl: url }, keys)('/again')).status, 401)
    assert.ok(sends.filter((url) => url === '/again').length > 1)
  })

  test(`${name}: the library's own timeout ends a wait for a credential: with the response in hand, or as its own error`, async (t) => {
    const world = await worldOf(t)
    const keys = await world.ready()
    const limits = {
      client: [{ timeout: 300 }, { code: 'not_ready' }],
      fetch: [{ timeout: 300 }, { name: 'TimeoutError' }],
      undici: [{ headersTimeout: 300 }, { code: 'UND_ERR_HEADERS_TIMEOUT' }],
      axios: [{ timeout: 300 }, { code: 'ECONNABORTED', message: 'timeout of 300ms exceeded' }],
    }
    const [options, error] = limits[name.split(' ')[0]]
    const send = way(world, keys)
    assert.equal((await send('/v1/price')).status, 200)
    await world.do('endpoint', { fault: 'hang' })
    let began = performance.now()
    await assert.rejects(way(world, world.keys())('/v1/price', options), error)
    assert.ok(performance.now() - began < 2000)
    await world.do('cut')
    began = performance.now()
    assert.equal((await send('/v1/price', options)).status, 401)
    assert.ok(performance.now() - began < 2000)
  })

  for (const names of ['nothing before it', 'the one before']) {
    test(`${name}: a key that cannot be put on a request, by a source that names ${names}, fails none`, async (t) => {
      const url = await echo(t, ({ headers }, response) => {
        response.writeHead(headers['x-api-key'] === 'good-1' ? 200 : 401).end()
      })
      const before = { id: 'k1', key: 'good-1' }
      let set = { current: before }
      const keys = await KeySwap.follow(() => set, { policy: FAST })
      t.after(() => keys.close())
      const send = way({ apiUrl: url }, keys)
      assert.equal((await send('/')).status, 200)
      const unusable = ['good-2\nx', 'good-2\r\nx-other: x', 'good-2\0', 'good-2\u0436']
      for (const [nth, key] of unusable.entries()) {
        const id = `k${nth + 2}`
        set = { current: { id, key }, ...(names !== 'nothing before it' && { previous: [before] }) }
        const events = keys.events()
        await keys.refresh()
        const together = await Promise.all(Array.from({ length: 5 }, () => send('/')))
        assert.deepEqual(together.map(({ status }) => status), [200, 200, 200, 200, 200])
        const { credential, reason } = await waitFor(events, 'rejected')
        assert.equal(credential, id)
        assert.ok(reason.length > 0 && !reason.includes('good-2'), reason)
        assert.equal((await send('/')).status, 200)
      }
      assert.equal(keys.current.id, 'k1')
    })
  }

  test(`${name}: of several rejections the first is returned, and its connection is not held`, async (t) => {
    const url = await echo(t, ({ headers }, response) => {
      response.writeHead(401, { 'x-about': headers['x-api-key'] }).end(`not ${headers['x-api-key']}`)
    })
    const previous = [{ id: 'k0', key: 'older' }]
    let asked = 0
    const keys = await KeySwap.follow(() => {
      asked += 1
      if (asked > 1) throw new Error('down')
      return { current: { id: 'k1', key: 'newer' }, previous }
    }, { policy: BRIEF })
    t.after(() => keys.close())
    const { status, text, headers } = await way({ apiUrl: url }, keys)('/x')
    assert.deepEqual([status, text], [401, 'not newer'])
    if (headers !== undefined) assert.equal(headers.get('x-about'), 'newer')
  })

  test(`${name}: a rejection that comes while a large body is still being sent is read`, async (t) => {
    const server = http.createServer((message, response) => {
      const { 'x-api-key': key } = message.headers
      if (key === 'left') response.writeHead(401).end('no')
      else if (key === 'ended') message.socket.end('HTTP/1.1 401 No\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno')
      else message.on('end', () => response.end('taken')).resume()
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.after(() => (server.closeAllConnections(), server.close()))
    const apiUrl = `http://127.0.0.1:${server.address().port}`
    const body = Buffer.alloc(20_000_000, 'x')
    for (const key of ['left', 'ended']) {
      for (const [previous, answer] of [[[{ id: 'k0', key: 'good' }], [200, 'taken']], [[], [401, 'no']]]) {
        const keys = await KeySwap.follow(() => ({ current: { id: 'k1', key }, previous }), { policy: BRIEF })
        t.after(() => keys.close())
        const { status, text } = await way({ apiUrl }, keys)('/x', { method: 'POST', body })
        assert.deepEqual([status, text], answer, key)
      }
    }
  })

  test(`${name}: a classifier of redirects is asked before one is followed`, async (t) => {
    const sends = []
    const url = await echo(t, (seen, response) => {
      sends.push(`${seen.url} ${seen.headers['x-api-key']}`)
      if (seen.headers['x-api-key'] === 'bad') response.writeHead(302, { location: '/login' }).end()
      else told(seen, response)
    })
    const keys = await KeySwap.follow(() => ({ current: { id: 'k1', key: 'bad' }, previous: [{ id: 'k0', key: 'good' }] }))
    t.after(() => keys.close())
    const classifier = ({ status }) => (status === 302 ? 'rejected' : 'other')
    classifier.statuses = [302]
    assert.equal((await way({ apiUrl: url }, keys, { classifier })('/price')).status, 200)
    assert.deepEqual(sends, ['/price bad', '/price good'])
  })
}
