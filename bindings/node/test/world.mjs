// A rotation endpoint and a protected API for each test, and what tests share.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import http from 'node:http'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'

import { endpoint, header, KeySwap } from 'keyswap'

export const ROOT = join(import.meta.dirname, '../../..')
/** So that a test can fetch often. */
export const FAST = { fetchFloor: 50, fetchFloorMin: 50 }
export const KEY = header('x-api-key')

export function binary() {
  const target = process.env.CARGO_TARGET_DIR ?? join(ROOT, 'target')
  const built = ['debug', 'x86_64-unknown-linux-gnu/debug', 'aarch64-unknown-linux-gnu/debug']
  const found = built.map((folder) => join(target, folder, 'keyswap-endpoint')).filter(existsSync)
  if (found.length === 0) {
    const { status } = spawnSync('cargo', ['build', '-q', '-p', 'keyswap-endpoint'], { cwd: ROOT, stdio: 'inherit' })
    if (status !== 0) throw new Error('the endpoint cannot be built')
    return binary()
  }
  return found.sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)[0]
}

/** One running endpoint with its API. */
export class World {
  static async start() {
    const world = new World()
    world.process = spawn(binary(), ['serve', '--exit-with-stdin'], { stdio: ['pipe', 'pipe', 'inherit'] })
    const lines = createInterface({ input: world.process.stdout })
    const [line] = await once(lines, 'line')
    lines.close()
    world.urls = JSON.parse(line)
    world.setUrl = world.urls.set_url
    world.bootstrap = world.urls.bootstrap
    world.apiUrl = world.urls.api_url
    world.otherUrl = world.urls.other_url
    world.opened = []
    return world
  }

  async stop() {
    for (const keys of this.opened) keys.close()
    const ended = once(this.process, 'exit')
    this.process.stdin.end()
    await ended
  }

  async control(action, body) {
    const method = body === undefined ? 'GET' : 'POST'
    return asked(`${this.urls.control_url}/${action}`, method, body === undefined ? undefined : JSON.stringify(body))
  }

  /** A step of the timeline, now. */
  do(what, fields = {}) {
    return this.control('step', { do: what, ...fields })
  }

  /** Begins anew, in such a world. */
  async story(world) {
    const told = await this.control('story', { name: 'test', about: 't', run_ms: 60000, world })
    this.setUrl = told.set_url
    this.bootstrap = told.bootstrap
    await this.control('start', {})
  }

  counters() {
    return this.control('counters')
  }

  source(options = {}) {
    return endpoint(this.setUrl, { bootstrap: this.bootstrap, ...options })
  }

  keys(options = {}) {
    const keys = new KeySwap(this.source(), { policy: FAST, ...options })
    this.opened.push(keys)
    return keys
  }

  async ready(options = {}) {
    const keys = this.keys(options)
    await keys.ready({ timeout: 10_000 })
    return keys
  }
}

/** A world for one test; `t.after` stops it. */
export async function worldOf(t) {
  const world = await World.start()
  t.after(() => world.stop())
  return world
}

export function once(emitter, name) {
  return new Promise((resolve) => emitter.once(name, (...args) => resolve(args)))
}

/** The next event of this name. */
export async function waitFor(events, name) {
  for await (const event of { [Symbol.asyncIterator]: () => ({ next: () => events.next() }) }) {
    if (event.name === name) return event
  }
  throw new Error(`the events ended before ${name}`)
}

const agent = new http.Agent({ keepAlive: true })

function asked(url, method, body) {
  return new Promise((resolve, reject) => {
    const request = http.request(url, { method, agent }, (response) => {
      const parts = []
      response.on('data', (part) => parts.push(part))
      response.on('end', () => {
        const text = Buffer.concat(parts).toString()
        if (response.statusCode >= 400) reject(new Error(`${url}: ${response.statusCode} ${text}`))
        else resolve(text === '' ? undefined : JSON.parse(text))
      })
    })
    request.on('error', reject)
    request.end(body)
  })
}

/** Runs a module in a process of its own; resolves with its code, what it said, and how long it took. */
export async function program(code, ...args) {
  const began = performance.now()
  const child = spawn(process.execPath, ['--input-type=module', '-e', code, ...args], {
    cwd: dirname(import.meta.dirname),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const said = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr']) child[name].on('data', (part) => (said[name] += part))
  const [status] = await once(child, 'close')
  return { status, ...said, took: performance.now() - began }
}
