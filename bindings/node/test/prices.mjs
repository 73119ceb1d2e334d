// The first example of the README: a program that prints a price each second, run through a rotation.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { join } from 'node:path'

import { once, ROOT } from './world.mjs'

export const PRICES = join(ROOT, 'examples/node/prices.mjs')

/** The same, with nothing else than its two URLs replaced. */
export function hereOf(example, world) {
  const here = example
    .replaceAll('https://keys.example.com/keyswap/v1/sets/trading', world.setUrl)
    .replaceAll('https://api.example.com', world.apiUrl)
  assert.ok(!here.includes('example.com'))
  return here
}

/** Runs it until the API has accepted both the key that is current and the one that takes its place at once. */
export async function livesThroughARotation(world, command, args, cwd) {
  const env = { ...process.env, NO_COLOR: '1', KEYSWAP_BOOTSTRAP: world.bootstrap }
  const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = once(child, 'close')
  const said = { stdout: '', stderr: '' }
  const accepted = []
  let more = () => undefined
  for (const name of ['stdout', 'stderr']) {
    child[name].on('data', (part) => {
      said[name] += part
      more()
    })
  }
  child.on('close', () => more())
  const late = setTimeout(() => child.kill('SIGKILL'), 60_000)
  try {
    for (const _ of ['before', 'after']) {
      for (;;) {
        // As Node, Bun and Deno print an object.
        const last = [...said.stdout.matchAll(/credential: ['"](\w+)['"]/g)].at(-1)?.[1]
        if (last !== undefined && !accepted.includes(last)) {
          accepted.push(last)
          break
        }
        assert.equal(child.exitCode ?? child.signalCode, null, `it ended: ${said.stdout} ${said.stderr}`)
        await new Promise((resolve) => (more = resolve))
      }
      if (accepted.length === 1) await world.do('cut')
    }
  } finally {
    clearTimeout(late)
    child.kill('SIGKILL')
    await ended
  }
  assert.equal(said.stderr, '')
  assert.ok(!said.stdout.includes('ks_'), said.stdout)
  assert.equal((await world.counters()).leaks, 0)
}
