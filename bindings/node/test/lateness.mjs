// Whether the machine was on time: a story that fails may be played again only if it was not.
import { appendFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'

import { ROOT } from './world.mjs'

const BEAT_MS = 10
/** Stories let at least this much pass between things whose order decides a count. */
const TOLERANCE_MS = 100

/** The longest time by which this process came late to anything. */
export class Heartbeat {
  #last = performance.now()
  #worst = 0
  #timer = setInterval(() => this.#beat(), BEAT_MS).unref()

  #beat() {
    const now = performance.now()
    this.#worst = Math.max(this.#worst, now - this.#last - BEAT_MS)
    this.#last = now
  }

  /** Ends it; in milliseconds. */
  stop() {
    clearInterval(this.#timer)
    this.#beat()
    return Math.round(this.#worst)
  }
}

/** Whether a story may be played again after it failed while somebody was so late. A replay is written down. */
export function mayReplay(through, story, lateMs, complaint, env = process.env) {
  if (lateMs <= TOLERANCE_MS || env.KEYSWAP_NO_REPLAY === '1') return false
  const folder = join(env.CARGO_TARGET_DIR ?? join(ROOT, 'target'), 'tests')
  mkdirSync(folder, { recursive: true })
  const line = JSON.stringify({ through, story, late_ms: lateMs, complaint })
  appendFileSync(join(folder, 'replayed.jsonl'), `${line}\n`)
  return true
}
