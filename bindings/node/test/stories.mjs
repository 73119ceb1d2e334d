// Plays the stories of `tests/scenarios` through what Node programs send with. The endpoint knows a story, makes its
// steps happen by its own clock, and says at the end whether the counts came out. `node stories.mjs THROUGH STORY`
// plays one in a process of its own, so that several at once keep their times.
import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { inspect } from 'node:util'

import axios from 'axios'
import { bearer, Client, createFetch, endpoint, header, KeySwap, KeyswapError, query } from 'keyswap'
import { keyswapAdapter } from 'keyswap/axios'
import { keyswapInterceptor } from 'keyswap/undici'
import { Agent, interceptors, request as undiciRequest } from 'undici'

import { Heartbeat } from './lateness.mjs'
import { ROOT, waitFor, World } from './world.mjs'

const SCENARIOS = join(ROOT, 'tests/scenarios')
const ORDER = '{"order": 1}'

export function read(name) {
  return JSON.parse(readFileSync(join(SCENARIOS, `${name}.json`), 'utf8'))
}

/** The stories that are played over sockets. */
export function names() {
  const all = readdirSync(SCENARIOS).filter((file) => file.endsWith('.json'))
  return all.map((file) => basename(file, '.json')).filter((name) => !read(name).virtual_only).sort()
}

/** What the support matrix says is not run, and why. */
export function notRun(through) {
  const matrix = readFileSync(join(ROOT, 'tests/support-matrix.yaml'), 'utf8')
  const block = new RegExp(`^  ${through}:\n    not_run:(?: \\{\\})?\n((?:      .*\n)*)`, 'm').exec(matrix)
  if (block === null) throw new Error(`the matrix does not speak of ${through}`)
  const lines = block[1].split('\n').filter((line) => line.trim() !== '')
  return Object.fromEntries(lines.map((line) => line.trim().split(/: (.*)/s, 2)))
}

function codeInBody({ status, body }) {
  if (status === 200) {
    if (body === undefined) return 'needBody'
    return Buffer.from(body).includes('"bad_key"') ? 'rejected' : 'accepted'
  }
  return status === 401 ? 'rejected' : status < 400 ? 'accepted' : 'other'
}
codeInBody.statuses = [200, 401]
codeInBody.bodyLimit = 256

const BODIES = {
  none: () => undefined,
  replayable: () => ORDER,
  one_shot: () => new ReadableStream({
    start(controller) {
      controller.enqueue(Buffer.from(ORDER))
      controller.close()
    },
  }),
}

/** Each sends one request of a caller, reads the answer to its end, and returns the status. */
export const THROUGH = {
  node(world, keys, options, client) {
    const api = new Client(keys, { baseURL: world.apiUrl, retries: client.retries ?? 0, ...options })
    return async (caller, signal) => {
      const response = await api.request(caller.method, caller.path, {
        body: bodyOf(caller), timeout: caller.timeout_ms, scopes: caller.scopes ?? [], signal,
      })
      await response.bytes()
      return response.status
    }
  },

  'node-fetch'(world, keys, options) {
    const fetch = createFetch(keys, { baseURL: world.apiUrl, ...options })
    return async (caller, signal) => {
      const body = bodyOf(caller)
      const response = await fetch(caller.path, {
        method: caller.method, body, signal, timeout: caller.timeout_ms, scopes: caller.scopes,
        ...(body instanceof ReadableStream && { duplex: 'half' }),
      })
      await response.arrayBuffer()
      return response.status
    }
  },

  'node-undici'(world, keys, options) {
    const keyed = keyswapInterceptor(keys, { allowedOrigins: [world.apiUrl], ...options })
    const dispatcher = new Agent().compose(keyed, interceptors.redirect({ maxRedirections: 10 }))
    return async (caller, signal) => {
      const body = bodyOf(caller)
      const limit = AbortSignal.timeout(caller.timeout_ms)
      const { statusCode, body: answer } = await undiciRequest(world.apiUrl + caller.path, {
        method: caller.method, dispatcher, headersTimeout: caller.timeout_ms, scopes: caller.scopes,
        signal: signal === undefined ? limit : AbortSignal.any([signal, limit]),
        body: body instanceof ReadableStream ? (await import('node:stream')).Readable.fromWeb(body) : body,
      })
      await answer.arrayBuffer()
      return statusCode
    }
  },

  'node-axios'(world, keys, options) {
    const adapter = keyswapAdapter(keys, { allowedOrigins: [world.apiUrl], ...options })
    const api = axios.create({ baseURL: world.apiUrl, adapter, validateStatus: null, proxy: false })
    return async (caller, signal) => {
      const body = bodyOf(caller)
      const { status } = await api.request({
        method: caller.method, url: caller.path, timeout: caller.timeout_ms, scopes: caller.scopes, signal,
        data: body instanceof ReadableStream ? (await import('node:stream')).Readable.fromWeb(body) : body,
      })
      return status
    }
  },
}

function bodyOf(caller) {
  return BODIES[caller.body ?? 'none']()
}

/** Another library's error, in the words of a story. */
function codeOf(error) {
  if (error instanceof KeyswapError) return error.code
  const words = `${error?.name} ${error?.code} ${error?.cause?.name} ${error?.cause?.code}`
  return /timeout|timedout|ECONNABORTED/i.test(words) ? 'timeout' : 'transport'
}

class Play {
  constructor(world, through, told, expect) {
    this.world = world
    this.expect = expect
    this.told = told
    this.client = told.client
    this.through = THROUGH[through]
    this.isCold = told.client.start === 'cold'
    this.counts = {}
  }

  add(...keys) {
    for (const key of keys) this.counts[key] = (this.counts[key] ?? 0) + 1
  }

  /** The verdict of the endpoint: `counters`, `mismatches` and `errors`. */
  async run() {
    if (this.isCold) await this.start()
    const keys = this.follow()
    const events = keys.events()
    const schemes = { header: header('x-api-key'), bearer: bearer(), query: query('api_key'), set: undefined }
    const scheme = schemes[this.client.scheme ?? 'header']
    const classifier = this.client.classifier === 'code_in_body' ? codeInBody : undefined
    const options = { ...(scheme && { scheme }), ...(classifier && { classifier }) }
    const send = this.through(this.world, keys, options, this.client)
    if (!this.isCold) {
      await keys.ready({ timeout: 10_000 })
      // What was told before the client was ready is no part of the story. This is the last of it.
      await waitFor(events, 'swapped')
    }
    const fresh = this.isCold ? events : keys.events()
    const listening = this.listen(fresh)
    if (!this.isCold) await this.start()
    const work = []
    for (const caller of this.told.callers) {
      for (let nth = 0; nth < caller.count; nth += 1) work.push(this.call(send, caller))
    }
    for (const hint of this.client.hints ?? []) work.push(this.hint(keys, hint))
    await this.until(this.told.run_ms)
    await Promise.all(work)
    await this.toldAll()
    const { inUse, generation } = keys.stats
    const last = { in_use: inUse ?? 'none', generation: generation ?? 0 }
    const verdict = await this.world.control('finish', { ...this.counts, ...last })
    keys.close()
    await listening
    return verdict
  }

  follow() {
    const { client, told } = this
    const [first, ...more] = told.set_urls
    const options = {
      bootstrap: told.bootstrap,
      push: client.push ?? true,
      ...(client.heartbeat_ms !== undefined && { heartbeat: client.heartbeat_ms }),
      ...(client.signed_by_endpoint && { signedBy: told.public_key }),
    }
    return new KeySwap(endpoint(first, { ...options, regions: more }), { policy: policyOf(told.policy, client) })
  }

  async listen(events) {
    for await (const event of events) this.add(`event.${event.name.replace(/[A-Z]/g, '_$&').toLowerCase()}`)
  }

  /** What the story expects to be told may be on its way yet. */
  async toldAll() {
    const expected = Object.entries(this.expect).filter(([key]) => key.startsWith('event.'))
    const isMissing = ([key, value]) => (this.counts[key] ?? 0) < (value.min ?? value)
    for (let waited = 0; waited < 1000 && expected.some(isMissing); waited += 5) await sleep(5)
  }

  async start() {
    const before = performance.now()
    await this.world.control('start', {})
    this.begin = performance.now()
    // By so much the clock of the endpoint may be ahead.
    this.startedMs = this.begin - before
  }

  until(at) {
    return sleep(Math.max(0, this.begin + at - performance.now()))
  }

  async call(send, caller) {
    for (let nth = 0; nth < caller.repeat; nth += 1) {
      await this.until(caller.at + nth * caller.every)
      this.add('requests')
      const patience = caller.cancel_after_ms
      const signal = patience == null ? undefined : AbortSignal.timeout(patience)
      try {
        const status = await send(caller, signal)
        this.add(`status.${status}`, ...(status >= 400 ? ['failed'] : []))
      } catch (error) {
        if (signal?.aborted) this.add('cancelled')
        else this.add('failed', `error.${codeOf(error)}`)
        if (process.env.STORY_ERRORS) console.error(error)
      }
    }
  }

  async hint(keys, hint) {
    await this.until(hint.at)
    keys.hint(hint.generation ?? undefined)
  }
}

/** The policy of a story has seconds and underscores. */
function policyOf(policy, client) {
  const plain = new Set(['soft_lead_ratio', 'hard_lead_ratio', 'poll_spread', 'forced_burst'])
  const all = { ...policy, ...(client.lease_ms !== undefined && { lease: client.lease_ms / 1000 }) }
  const millis = (value, name) => (typeof value === 'number' && !plain.has(name) ? value * 1000 : value)
  const entries = Object.entries(all).map(([name, value]) => [
    name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase()),
    Array.isArray(value) ? value.map((each) => millis(each, name)) : millis(value, name),
  ])
  return Object.fromEntries(entries)
}

if (process.argv[1] === import.meta.filename) {
  const [, , through, name] = process.argv
  const world = await World.start()
  const story = read(name)
  const told = await world.control('story', story)
  const heartbeat = new Heartbeat()
  const play = new Play(world, through, told, story.expect)
  const verdict = await play.run().catch((error) => ({ counters: play.counts, mismatches: [], errors: [inspect(error)] }))
  console.log(JSON.stringify({ ...verdict, late_ms: Math.max(heartbeat.stop(), Math.round(play.startedMs ?? 0)) }))
  await world.stop()
}
