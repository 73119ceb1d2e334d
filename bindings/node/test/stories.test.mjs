// Every story of `tests/scenarios`, with the counts that every language must come to.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { promisify } from 'node:util'

import { names, notRun, THROUGH } from './stories.mjs'

const run = promisify(execFile)
/** Most of a story is waiting, but its times must be kept. */
const AT_ONCE = 4
/** Of some three hundred: how many may be late among others, on a machine that has other work. */
const MOST_ALONE = 4
const onlyAlone = []

/** What did not come out; empty if all did. */
async function complaint(through, name) {
  const { stdout, stderr } = await run(process.execPath, [join(import.meta.dirname, 'stories.mjs'), through, name], {
    timeout: 120_000,
  })
  const { mismatches, errors, counters } = JSON.parse(stdout)
  const wrong = [...mismatches, ...errors, ...(stderr === '' ? [] : [stderr])]
  return wrong.length === 0 ? '' : `${JSON.stringify(wrong)}\ncounted: ${JSON.stringify(counters)}`
}

for (const through of Object.keys(THROUGH)) {
  const leftOut = notRun(through)
  describe(`stories through ${through}`, { concurrency: AT_ONCE }, () => {
    for (const name of names().filter((name) => !(name in leftOut))) {
      it(name, async (t) => {
        const among = await complaint(through, name)
        if (among === '') return
        // The machine may have been late. A rule that is broken is broken in quiet, too.
        t.diagnostic(`among others: ${among}`)
        onlyAlone.push(`${through} ${name}`)
        assert.ok(onlyAlone.length <= MOST_ALONE, `too many come out only alone: ${onlyAlone}`)
        assert.equal(await complaint(through, name), '')
      })
    }
  })
}

describe('the matrix', () => {
  it('names only stories that there are, with a reason', () => {
    for (const through of Object.keys(THROUGH)) {
      for (const [name, reason] of Object.entries(notRun(through))) {
        assert.ok(reason.length > 0, `${through} ${name}`)
      }
    }
  })
})
