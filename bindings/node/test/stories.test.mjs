// Every story of `tests/scenarios`, with the counts that every language must come to.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { promisify } from 'node:util'

import { Heartbeat, mayReplay } from './lateness.mjs'
import { names, notRun, THROUGH } from './stories.mjs'

const run = promisify(execFile)
/** Most of a story is waiting, but its times must be kept. */
const AT_ONCE = 4
/** Of one story, if the machine was late each time. */
const MOST_PLAYS = 3

/** What did not come out, empty if all did; and by how much the runner or the play was late. */
async function played(through, name) {
  const heartbeat = new Heartbeat()
  const { stdout, stderr } = await run(process.execPath, [join(import.meta.dirname, 'stories.mjs'), through, name], {
    timeout: 120_000,
  })
  const { mismatches, errors, counters, late_ms } = JSON.parse(stdout)
  const wrong = [...mismatches, ...errors, ...(stderr === '' ? [] : [stderr])]
  const complaint = wrong.length === 0 ? '' : `${JSON.stringify(wrong)}\ncounted: ${JSON.stringify(counters)}`
  return { complaint, lateMs: Math.max(heartbeat.stop(), late_ms) }
}

for (const through of Object.keys(THROUGH)) {
  const leftOut = notRun(through)
  describe(`stories through ${through}`, { concurrency: AT_ONCE }, () => {
    for (const name of names().filter((name) => !(name in leftOut))) {
      it(name, async () => {
        for (let plays = 1; ; plays += 1) {
          const { complaint, lateMs } = await played(through, name)
          if (complaint === '') return
          const again = plays < MOST_PLAYS && mayReplay(through, name, lateMs, complaint)
          assert.ok(again, `${lateMs} ms late at most, play ${plays}: ${complaint}`)
        }
      })
    }
  })
}

describe('replays', () => {
  it('are for a machine that was late, and are written down', (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'keyswap-'))
    t.after(() => rmSync(folder, { recursive: true }))
    const env = { CARGO_TARGET_DIR: folder }
    assert.equal(mayReplay('node', 'cut', 100, 'wrong', env), false)
    assert.equal(mayReplay('node', 'cut', 101, 'wrong', env), true)
    assert.equal(mayReplay('node', 'cut', 101, 'wrong', { ...env, KEYSWAP_NO_REPLAY: '1' }), false)
    const written = readFileSync(join(folder, 'tests/replayed.jsonl'), 'utf8')
    assert.deepEqual(written.trim().split('\n').map(JSON.parse), [{ through: 'node', story: 'cut', late_ms: 101, complaint: 'wrong' }])
  })

  it('know how late somebody was', async () => {
    const heartbeat = new Heartbeat()
    const begin = performance.now()
    while (performance.now() - begin < 150);
    assert.ok(heartbeat.stop() >= 130)
  })
})

describe('the matrix', () => {
  it('names only stories that there are, with a reason', () => {
    for (const through of Object.keys(THROUGH)) {
      for (const [name, reason] of Object.entries(notRun(through))) {
        assert.ok(reason.length > 0, `${through} ${name}`)
      }
    }
  })
})
