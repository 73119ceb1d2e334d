// A test of one behaviour of one adapter, and a line of JSON about it for the page of behaviours.
import { appendFileSync } from 'node:fs'
import { test } from 'node:test'

import * as undici from 'undici'

/** Both are tested, in runs of their own; only the newer one has this. */
const MAJOR = undici.Dispatcher1Wrapper === undefined ? 7 : 8

/** What `run` returns is why the library beneath cannot, which it has then seen of the library alone. */
export function behaviour(adapter, row, kind, run) {
  test([adapter, row, ...(kind === undefined ? [] : [kind])].join(': '), async (t) => {
    let outcome = 'failed'
    let limit
    try {
      limit = await run(t)
      outcome = 'passed'
    } finally {
      note({ adapter: adapter.replace('undici', `undici ${MAJOR}`), behaviour: row, outcome, limit: limit ?? null })
    }
  })
}

function note(line) {
  const path = process.env.KEYSWAP_BEHAVIOURS
  if (path !== undefined) appendFileSync(path, `${JSON.stringify(line)}\n`)
}
