// With keyswap added, everything is as before, but for the key: one test for each behaviour and adapter, beside the
// library alone. KEYSWAP_BEHAVIOURS=FILE writes what came of each, for the page of behaviours.
import assert from 'node:assert/strict'
import http from 'node:http'
import net from 'node:net'
import zlib from 'node:zlib'

import { KeySwap } from 'keyswap'

import { EnvHttpProxyAgent, interceptors } from 'undici'

import { ADAPTERS, bodiesOf, NAME, streamsOf } from './adapters.mjs'
import { behaviour } from './behaviour.mjs'
import { FAST, once } from './world.mjs'

const FIELD = NAME.toLowerCase()
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
async function rotating(t, { both = false, wait = 2000 } = {}) {
  let asked = 0
  const bad = { id: 'k1', key: 'bad' }
  const good = { id: 'k2', key: 'good' }
  const keys = await KeySwap.follow(() => {
    asked += 1
    return both ? { current: bad, previous: [{ ...good, id: 'k0' }] } : { current: asked === 1 ? bad : good }
  }, { policy: { ...FAST, wait } })
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
    behaviour(name, 'a body that can be had again is sent again', kind, async (t) => {
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
    behaviour(name, 'a body that can be had once is sent once', kind, async (t) => {
      const sends = []
      const url = await listening(t, recording(sends, refused))
      // The fetch of undici 8 fails where a stream would have to be sent again, whatever keyswap does.
      const outcome = (send) =>
        send(`${url}/x`, { method: 'POST', body: make() }).then(({ status, text }) => [status, text], ({ message, cause }) => [message, cause?.message])
      const made = await outcome(adapter.keyed(await rotating(t), url))
      assert.equal(sends.length, 1)
      if (adapter.alone === undefined) {
        assert.deepEqual(made, [401, 'no'])
        return
      }
      assert.deepEqual(made, await outcome(adapter.alone('bad')), 'the library alone')
      assert.deepEqual(comparable(sends[0]), comparable(sends[1]), 'the library alone')
    })
  }

  for (const [kind, refuse] of Object.entries(UNENDING)) {
    for (const both of [false, true]) {
      const what = `one ${kind}${both ? ', with another key at hand' : ''}`
      behaviour(name, 'a rejected response that does not end is given up', what, async (t) => {
        const url = await listening(t, recording([], refuse))
        const keys = await rotating(t, { both })
        const send = adapter.keyed(keys, url)
        // The second has what the first has learned.
        for (const options of [{ method: 'GET' }, { method: 'POST', body: 'x' }]) {
          const began = performance.now()
          const { status, text } = await send(`${url}/x`, options)
          assert.deepEqual([status, text], [200, 'taken'])
          assert.ok(performance.now() - began < 2000, `${performance.now() - began} ms`)
        }
      })
    }
  }

  for (const [coding, encode] of Object.entries(CODINGS)) {
    behaviour(name, 'a classifier sees the body as the library decodes it, and the program all of it', coding, async (t) => {
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
        if (body === undefined) return 'needBody'
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

  behaviour(name, 'names of headers keep their case on HTTP/1.1', undefined, async (t) => {
    const { url, heads } = await writtenNames(t)
    const keys = await rotating(t)
    const options = { method: 'POST', body: 'text', headers: { 'X-Own-Name': '1', 'Content-Type': 'text/plain' } }
    await adapter.keyed(keys, url)(`${url}/x`, options)
    if (adapter.alone === undefined) {
      assert.ok(heads[0].includes(FIELD) && heads[0].includes('x-own-name'), 'it writes those of the program so, too')
      return 'hyper, beneath it, writes every name in lower case on HTTP/1.1'
    }
    await adapter.alone('bad')(`${url}/x`, options)
    assert.deepEqual(heads[0].toSorted(), heads[1].toSorted(), 'the library alone')
    assert.ok(heads[0].includes(NAME), String(heads[0]))
  })

  for (const framed of ['its length', 'chunks']) {
    behaviour(name, 'a small rejection keeps its connection, and is returned if all is in vain', framed, async (t) => {
      let asked = 0
      let closed = 0
      const server = http.createServer((message, response) => {
        const body = `no ${(asked += 1)}`
        response.writeHead(401, framed === 'chunks' ? {} : { 'content-length': body.length })
        if (framed === 'chunks') response.write(body)
        response.end(framed === 'chunks' ? '' : body)
      })
      server.on('connection', (socket) => socket.on('close', () => (closed += 1)))
      const url = await listening(t, server)
      const { status, text } = await adapter.keyed(await rotating(t, { wait: 300 }), url)(`${url}/x`, { method: 'GET' })
      assert.equal(status, 401)
      // What was read as a stream, so that its connection is kept, is gone: it is the last that is returned.
      if (name === 'axios, as a stream') assert.match(text, /^no \d$/)
      else assert.equal(text, 'no 1')
      // The package's own client keeps none whose length it was not told.
      assert.ok(asked > 1 && (closed === 0 || (name === 'client' && framed === 'chunks')), `${closed} closed`)
    })
  }

  for (const looksInto of [false, true]) {
    behaviour(name, 'a streamed response arrives as it is sent, looked into or not', looksInto ? 'looked into' : 'not', async (t) => {
      let finish
      const server = http.createServer((_, response) => {
        response.write('x'.repeat(64))
        finish = () => response.end('end')
      })
      const url = await listening(t, server)
      const classifier = ({ status, body }) => (status !== 200 ? 'other' : body === undefined ? 'needBody' : 'accepted')
      Object.assign(classifier, { statuses: [200], bodyLimit: 64 })
      const seen = async (send) => {
        const parts = []
        let sent = ''
        const timer = setTimeout(() => finish((sent = 'late')), 500)
        const onPart = (part) => {
          parts.push(part)
          clearTimeout(timer)
          if (sent === '') finish((sent = 'in time'))
        }
        await send(`${url}/x`, { method: 'GET', onPart })
        assert.equal(parts.join(''), `${'x'.repeat(64)}end`)
        return sent
      }
      const keyed = await seen(adapter.keyed(await rotating(t), url, looksInto ? { classifier } : {}))
      const alone = adapter.alone === undefined ? keyed : await seen(adapter.alone('good'))
      assert.equal(keyed, alone, 'the library alone')
      if (name !== 'axios') assert.equal(keyed, 'in time')
      return keyed === 'late' ? 'a response that axios is not told to give as a stream comes whole' : undefined
    })
  }

  behaviour(name, "headers of the program's own are sent as they are", undefined, async (t) => {
    const heads = []
    const server = http.createServer((message, response) => {
      const pairs = message.rawHeaders.flatMap((each, at, all) => (at % 2 === 0 ? [`${each}: ${all[at + 1]}`] : []))
      heads.push(pairs.filter((pair) => !pair.toLowerCase().startsWith(FIELD)).toSorted())
      response.writeHead(message.headers[FIELD] === 'bad' ? 401 : 200).end('ok')
    })
    const url = await listening(t, server)
    const headers = { 'User-Agent': 'own/1', Accept: 'text/own', Authorization: 'Bearer own', 'X-Own': 'a, b;c="d"' }
    const options = { method: 'POST', body: 'text', headers }
    assert.equal((await adapter.keyed(await rotating(t), url)(`${url}/x`, options)).status, 200)
    await adapter.alone?.('good')(`${url}/x`, options)
    assert.ok(heads.length === (adapter.alone === undefined ? 2 : 3))
    for (const head of heads) assert.deepEqual(head, heads[0], 'the library alone')
    const written = heads[0].map((pair) => pair.toLowerCase())
    for (const [own, value] of Object.entries(headers)) assert.ok(written.includes(`${own}: ${value}`.toLowerCase()), own)
  })

  for (const method of ['GET', 'POST', 'PUT']) {
    behaviour(name, 'redirects are followed as the library follows them', method, async (t) => {
      const sends = []
      const server = http.createServer(async (message, response) => {
        const parts = []
        for await (const part of message) parts.push(part)
        sends.push([message.method, message.url, Buffer.concat(parts).toString(), message.headers['content-type']])
        const status = Number(message.url.slice(1))
        if (status > 0) response.writeHead(status, { location: '/there' })
        response.end('there')
      })
      const url = await listening(t, server)
      // Of undici the program asks for it.
      const outer = name === 'undici' ? { outer: [interceptors.redirect({ maxRedirections: 5 })] } : {}
      const options = method === 'GET' ? { method } : { method, body: 'text' }
      const keyed = adapter.keyed(await rotating(t), url, outer)
      for (const status of [301, 302, 303, 307, 308]) {
        const hops = async (send) => {
          sends.length = 0
          const reply = await send(`${url}/${status}`, options)
          return [reply.status, reply.text, ...sends]
        }
        const found = await hops(keyed)
        assert.deepEqual([...found.slice(0, 2), found.length], [200, 'there', 4], String(status))
        if (adapter.alone === undefined) {
          const isKept = method === 'GET' || status > 303 || (method === 'PUT' && status < 303)
          assert.equal(found[3][0], isKept ? method : 'GET', String(status))
        } else {
          assert.deepEqual(found, await hops(adapter.alone('good', outer)), `the library alone: ${status}`)
        }
      }
    })
  }

  behaviour(name, 'cookies are kept as the library keeps them', undefined, async (t) => {
    const sent = []
    const server = http.createServer(({ headers }, response) => {
      sent.push(headers.cookie)
      response.writeHead(200, { 'set-cookie': ['a=1', 'b=2'] }).end('ok')
    })
    const url = await listening(t, server)
    const keyed = adapter.keyed(await rotating(t), url)
    const came = []
    const isRight = () => String(came[0]) === 'a=1,b=2' && Array.isArray(came[0]) && came[0].length === 2
    // Where it is not, an interceptor of undici's own shows that it is not ours that spoils it.
    const alone = () => adapter.alone?.('good', isRight() ? {} : { outer: [interceptors.retry()] })
    for (let send = keyed; send !== undefined; send = came.length === 1 ? alone() : undefined) {
      sent.length = 0
      const { headers } = await send(`${url}/x`, { method: 'GET' })
      came.push(headers.getSetCookie?.() ?? headers['set-cookie'])
      await send(`${url}/x`, { method: 'GET' })
      await send(`${url}/x`, { method: 'GET', headers: { cookie: 'own=1' } })
      assert.deepEqual(sent, [undefined, undefined, 'own=1'], 'it has no jar')
    }
    for (const each of came) assert.deepEqual(each, came[0], 'the library alone')
    if (isRight()) return undefined
    assert.match(name, /through undici|^undici/)
    return String(came[0]) === 'a=1,b=2'
      ? 'whatever is composed with it, undici 7 gives the fetch of Node as one what came in several headers of a name'
      : 'undici 7.0 spoils what came in several headers of a name for all that is composed with it; later ones do not'
  })

  /** A server that says nothing, or not enough, and knows whether the other side has gone. */
  const waiting = async (t) => {
    const ended = []
    const server = http.createServer(({ url }, response) => {
      if (url === '/done') return void response.end('done')
      ended.push(once(response, 'close'))
      if (url === '/begin') response.writeHead(200, { 'content-length': 1000 }).write('begin')
    })
    return { url: await listening(t, server), ended }
  }
  const gone = (ended) =>
    Promise.race([ended.at(-1), new Promise((_, no) => setTimeout(no, 5000, new Error('the connection is still there')).unref())])

  behaviour(name, 'a timeout ends the request', undefined, async (t) => {
    const { url, ended } = await waiting(t)
    const limited = () => {
      if (name === 'client' || name.startsWith('axios')) return { timeout: 100 }
      return name === 'undici' ? { headersTimeout: 100 } : { signal: AbortSignal.timeout(100) }
    }
    const keyed = adapter.keyed(await rotating(t), url)
    const errors = []
    for (const send of adapter.alone === undefined ? [keyed] : [keyed, adapter.alone('good')]) {
      const began = performance.now()
      const error = await send(`${url}/x`, { method: 'GET', ...limited() }).then(assert.fail, (error) => error)
      // The clock of undici's own timeouts ticks once a second.
      assert.ok(performance.now() - began < 3000)
      errors.push([error.name, error.code])
      await gone(ended)
    }
    for (const error of errors) assert.deepEqual(error, errors[0], 'the library alone')
    if (name === 'client') assert.equal(errors[0][1], 'timeout')
  })

  behaviour(name, 'a request that is given up ends its connection', undefined, async (t) => {
    const { url, ended } = await waiting(t)
    const keyed = adapter.keyed(await rotating(t), url)
    const errors = []
    for (const send of adapter.alone === undefined ? [keyed] : [keyed, adapter.alone('good')]) {
      for (const path of ['/hang', '/begin']) {
        const giving = new AbortController()
        const before = ended.length
        const sent = send(`${url}${path}`, { method: 'GET', signal: giving.signal }).then(assert.fail, (error) => error)
        while (ended.length === before) await new Promise((done) => setTimeout(done, 5))
        await new Promise((done) => setTimeout(done, 50))
        giving.abort()
        const error = await sent
        errors.push([path, error.name, error.code])
        await gone(ended)
      }
      assert.equal((await send(`${url}/done`, { method: 'GET' })).text, 'done')
    }
    assert.deepEqual(errors.slice(0, 2), errors.slice(-2), 'the library alone')
  })

  /** Of a proxy of the environment: what it was asked for, with the adapter and alone. */
  const asked = async (t, variables, host) => {
    const names = ['http_proxy', 'https_proxy', 'all_proxy', 'no_proxy'].flatMap((each) => [each, each.toUpperCase()])
    const before = Object.fromEntries(names.map((each) => [each, process.env[each]]))
    for (const each of names) delete process.env[each]
    Object.assign(process.env, variables)
    const isOfUndici = name.includes('undici') && name !== 'client'
    try {
      const more = () => ({ ...(isOfUndici && { base: new EnvHttpProxyAgent() }), ...(name.startsWith('axios') && { proxy: null }) })
      const url = `https://${host}`
      const ways = [adapter.keyed(await rotating(t), url, more()), adapter.alone?.('good', more())]
      const outcomes = []
      for (const send of ways.filter((send) => send !== undefined)) {
        // What a proxy says in place of a tunnel is an answer to axios.
        const told = ({ message, cause }) => [message, cause?.message, cause?.cause?.message].join(' ')
        outcomes.push(await send(`${url}/x`, { method: 'GET' }).then(({ status }) => status, told))
      }
      return outcomes
    } finally {
      for (const each of names) delete process.env[each]
      for (const [each, value] of Object.entries(before)) if (value !== undefined) process.env[each] = value
    }
  }

  behaviour(name, 'the proxies of the environment are used, and NO_PROXY counts', undefined, async (t) => {
    const shown = []
    const server = http.createServer((_, response) => response.writeHead(403).end())
    server.on('connect', ({ url }, socket) => {
      shown.push(url)
      socket.end('HTTP/1.1 403 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n')
    })
    const proxy = await listening(t, server)
    const variables = { https_proxy: proxy, no_proxy: 'direct.test' }
    for (const outcome of await asked(t, variables, 'direct.test')) assert.equal(typeof outcome, 'string')
    assert.deepEqual(shown, [], 'it is asked for nothing that is excepted')
    const outcomes = await asked(t, variables, 'api.test')
    assert.equal(outcomes[0], outcomes.at(-1), 'the library alone')
    if (name === 'fetch') {
      assert.deepEqual(shown, [], 'nor for anything else, by either')
      return 'the fetch of Node reads no environment, unless Node itself is told to'
    }
    assert.deepEqual(shown, outcomes.map(() => 'api.test:443'))
  })

  behaviour(name, 'a proxy that cannot be used is said', undefined, async (t) => {
    const outcomes = await asked(t, { all_proxy: 'socks5://127.0.0.1:1' }, 'api.test')
    assert.equal(outcomes[0], outcomes.at(-1), 'the library alone')
    if (/socks/i.test(outcomes[0])) return undefined
    assert.notEqual(name, 'client')
    const who = name === 'fetch' ? 'the fetch of Node' : name.startsWith('axios') ? 'axios' : 'undici'
    return `${who} takes no notice of an ALL_PROXY that is none of its kinds`
  })
}
