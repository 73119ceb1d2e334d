// With keyswap added, everything is as before, but for the key: one test for each behaviour and adapter, beside the
// library alone. The names are `ADAPTER: BEHAVIOUR`; table.mjs makes a table of the results.
import assert from 'node:assert/strict'
import http from 'node:http'
import net from 'node:net'
import { test } from 'node:test'
import zlib from 'node:zlib'

import { KeySwap } from 'keyswap'

import { ADAPTERS, bodiesOf, NAME, streamsOf } from './adapters.mjs'
import { FAST, once } from './world.mjs'

const FIELD = NAME.toLowerCase()
/** Those of which the library beneath is another one. */
const LIMITS = {
  client: { 'names of headers keep their case': "the core's client, reqwest, sends them in lower case" },
}

async function listening(t, server) {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections?.()
    server.close()
  })
  return `http://127.0.0.1:${server.address().port}`
}

/** A source that has a key that is refused, and then one that is not. */
async function rotating(t, { both = false } = {}) {
  let asked = 0
  const bad = { id: 'k1', key: 'bad' }
  const good = { id: 'k2', key: 'good' }
  const keys = await KeySwap.follow(() => {
    asked += 1
    return both ? { current: bad, previous: [{ ...good, id: 'k0' }] } : { current: asked === 1 ? bad : good }
  }, { policy: { ...FAST, wait: 2000 } })
  t.after(() => keys.close())
  return keys
}

/** What was sent, but for what differs from one send to the next. */
function comparable({ method, headers, body }) {
  const type = headers['content-type']
  const boundary = /boundary=(.*)$/.exec(type ?? '')?.[1]
  const without = (text) => (boundary === undefined ? text : text?.replaceAll(boundary, 'BOUNDARY'))
  const { 'content-length': length, 'transfer-encoding': coding } = headers
  // Boundaries are of different lengths.
  return { method, type: without(type), body: without(body), framed: coding ?? (boundary === undefined ? length : 'length') }
}

/** Answers by the key, and keeps what it was sent. */
function recording(sends, refuse) {
  return http.createServer(async (message, response) => {
    const parts = []
    try {
      for await (const part of message) parts.push(part)
    } catch {
      return
    }
    const { method, headers } = message
    sends.push({ method, headers, body: Buffer.concat(parts).toString('latin1') })
    if (headers[FIELD] === 'bad') refuse(response)
    else response.end('taken')
  })
}

const refused = (response) => response.writeHead(401).end('no')

/** Ways in which an API says no and does not come to an end. */
const UNENDING = {
  'that stops': (response) => response.writeHead(401, { 'content-length': 100 }).write('short'),
  'that drips for ever': (response) => {
    response.writeHead(401)
    const drip = setInterval(() => response.write('x'), 20)
    response.on('close', () => clearInterval(drip))
  },
  'that is endless': (response) => {
    response.writeHead(401)
    const more = () => {
      while (!response.destroyed && response.write(Buffer.alloc(16_384)));
    }
    response.on('drain', more)
    more()
  },
}

const CODINGS = {
  gzip: zlib.gzipSync,
  deflate: zlib.deflateSync,
  br: zlib.brotliCompressSync,
  // Not in every Node.
  ...(zlib.zstdCompressSync !== undefined && { zstd: zlib.zstdCompressSync }),
}

/** The names of the headers of one request, as they stood on the wire. */
function writtenNames(t) {
  const heads = []
  const server = net.createServer((socket) => {
    let head = ''
    socket.on('error', () => undefined)
    socket.on('data', (part) => {
      head += part
      if (!head.includes('\r\n\r\n')) return
      heads.push(head.split('\r\n').slice(1, -2).map((line) => line.slice(0, line.indexOf(':'))))
      socket.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok')
    })
  })
  return listening(t, server).then((url) => ({ url, heads }))
}

for (const [name, adapter] of Object.entries(ADAPTERS)) {
  for (const [kind, make] of Object.entries(bodiesOf(name, adapter))) {
    test(`${name}: a body that can be had again is resent: ${kind}`, async (t) => {
      const sends = []
      const url = await listening(t, recording(sends, refused))
      const { status, text } = await adapter.keyed(await rotating(t), url)(`${url}/x`, { method: 'POST', body: make(`${url}/x`) })
      assert.deepEqual([status, text], [200, 'taken'])
      assert.deepEqual(sends.map(({ headers }) => headers[FIELD]), ['bad', 'good'])
      const [first, second] = sends.map(comparable)
      assert.deepEqual(second, first)
      assert.ok(first.body.length > 0)
      if (adapter.alone === undefined) return
      await adapter.alone('good')(`${url}/x`, { method: 'POST', body: make(`${url}/x`) })
      assert.deepEqual(first, comparable(sends[2]), 'the library alone')
    })
  }

  for (const [kind, make] of Object.entries(streamsOf(name))) {
    test(`${name}: a stream is sent once: ${kind}`, async (t) => {
      const sends = []
      const url = await listening(t, recording(sends, refused))
      // The fetch of undici 8 fails where a stream would have to be sent again, whatever keyswap does.
      const outcome = (send) => send(`${url}/x`, { method: 'POST', body: make() }).catch(({ message, cause }) => [message, cause?.message])
      const made = await outcome(adapter.keyed(await rotating(t), url))
      assert.equal(sends.length, 1)
      if (adapter.alone === undefined) {
        assert.deepEqual(made, { status: 401, text: 'no' })
        return
      }
      assert.deepEqual(made, await outcome(adapter.alone('bad')), 'the library alone')
      assert.deepEqual(comparable(sends[0]), comparable(sends[1]), 'the library alone')
    })
  }

  for (const [kind, refuse] of Object.entries(UNENDING)) {
    for (const both of [false, true]) {
      test(`${name}: giving up a rejection is bounded: one ${kind}${both ? ', with another key at hand' : ''}`, async (t) => {
        const url = await listening(t, recording([], refuse))
        const keys = await rotating(t, { both })
        const send = adapter.keyed(keys, url)
        // The second has what the first has learned.
        for (const options of [{ method: 'GET' }, { method: 'POST', body: 'x' }]) {
          const began = performance.now()
          assert.deepEqual(await send(`${url}/x`, options), { status: 200, text: 'taken' })
          assert.ok(performance.now() - began < 2000, `${performance.now() - began} ms`)
        }
      })
    }
  }

  for (const [coding, encode] of Object.entries(CODINGS)) {
    test(`${name}: a classifier sees what is decoded: ${coding}`, async (t) => {
      const asked = []
      const server = http.createServer((message, response) => {
        const says = message.headers[FIELD] === 'bad' ? '{"code": "bad_key"}' : '{"code": "fine"}'
        asked.push(message.headers['accept-encoding'] ?? '')
        const isAsked = asked.at(-1).includes(coding)
        // What nobody asks for is not sent, but by undici's request, which leaves it to the program.
        if (isAsked || name === 'undici') response.writeHead(200, { 'content-encoding': coding }).end(encode(says + ' '.repeat(20_000)))
        else response.end(says)
      })
      const url = await listening(t, server)
      const seen = []
      const classifier = ({ status, body }) => {
        if (status !== 200) return 'other'
        if (body === undefined) return 'need_body'
        seen.push(Buffer.from(body).toString().trim())
        return seen.at(-1).includes('bad_key') ? 'rejected' : 'accepted'
      }
      classifier.statuses = [200]
      const send = adapter.keyed(await rotating(t), url, { classifier })
      const { status, text } = await send(`${url}/x`, { method: 'GET' })
      assert.deepEqual(seen, ['{"code": "bad_key"}', '{"code": "fine"}'])
      assert.equal(status, 200)
      if (name !== 'undici') assert.equal(text.trim(), '{"code": "fine"}')
    })
  }

  test(`${name}: names of headers keep their case`, async (t) => {
    const { url, heads } = await writtenNames(t)
    const keys = await rotating(t)
    const options = { method: 'POST', body: 'text', headers: { 'X-Own-Name': '1', 'Content-Type': 'text/plain' } }
    await adapter.keyed(keys, url)(`${url}/x`, options)
    const limit = LIMITS[name]?.['names of headers keep their case']
    if (limit !== undefined) {
      t.diagnostic(`limit: ${limit}`)
      assert.ok(heads[0].includes(FIELD))
      return
    }
    await adapter.alone('bad')(`${url}/x`, options)
    assert.deepEqual(heads[0].toSorted(), heads[1].toSorted(), 'the library alone')
    assert.ok(heads[0].includes(NAME), String(heads[0]))
  })
}
