// The package in Bun and in Deno: a rotation through each library, and the examples.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import {
  cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'

import { hereOf, livesThroughARotation, PRICES } from './prices.mjs'
import { ROOT, worldOf } from './world.mjs'

const PACKAGE = join(import.meta.dirname, '..')
const EXAMPLES = join(ROOT, 'examples/node')
const run = promisify(execFile)

/** How each runs a file. In Bun, `undici` is Bun's own, whatever is installed: it has no interceptors. */
const RUNTIMES = {
  bun: { args: [], lacks: ['undici'] },
  deno: { args: ['run', '-A'], lacks: [] },
}
const LIBRARIES = ['client', 'fetch', 'undici', 'axios']

for (const [name, { args, lacks }] of Object.entries(RUNTIMES)) {
  const binary = join(PACKAGE, 'node_modules/.bin', name)
  const skip = !existsSync(binary) && `${name} is not installed`
  const inside = async (cwd, file, env) => {
    const { stdout } = await run(binary, [...args, file], { cwd, env: { ...process.env, NO_COLOR: '1', ...env } })
    return stdout
  }

  test(`${name}: rotations, with a bootstrap credential that was set at run time`, { skip }, async (t) => {
    const world = await worldOf(t)
    const libraries = LIBRARIES.filter((library) => !lacks.includes(library))
    const env = {
      SET_URL: world.setUrl, API_URL: world.apiUrl, CONTROL_URL: world.urls.control_url, BOOTSTRAP: world.bootstrap,
      LIBRARIES: libraries.join(' '),
    }
    const said = JSON.parse(await inside(PACKAGE, 'test/rotation.mjs', env))
    assert.deepEqual(said, Object.fromEntries(libraries.map((library) => [library, true])))
    assert.equal((await world.counters()).leaks, 0)
  })

  test(`${name}: the examples`, { skip }, async (t) => {
    const cwd = mkdtempSync(join(tmpdir(), 'keyswap-'))
    t.after(() => rmSync(cwd, { recursive: true, force: true }))
    mkdirSync(join(cwd, 'node_modules'))
    for (const installed of ['axios', 'openai', 'undici']) {
      symlinkSync(join(PACKAGE, 'node_modules', installed), join(cwd, 'node_modules', installed))
    }
    symlinkSync(PACKAGE, join(cwd, 'node_modules/keyswap'))
    writeFileSync(join(cwd, 'package.json'), '{"type": "module"}')
    const others = [...lacks, 'prices']
    const files = readdirSync(EXAMPLES).filter((file) => !others.some((name) => file.startsWith(name)))
    for (const file of files) {
      const world = await worldOf(t)
      cpSync(join(EXAMPLES, file), join(cwd, file))
      const env = { KEYSWAP_SET_URL: world.setUrl, KEYSWAP_BOOTSTRAP: world.bootstrap, API_URL: world.apiUrl }
      const said = await inside(cwd, file, env)
      assert.ok(said.length > 0 && !said.includes('ks_'), `${file}: ${said}`)
    }
    // The first one of the README.
    const world = await worldOf(t)
    writeFileSync(join(cwd, 'prices.mjs'), hereOf(readFileSync(PRICES, 'utf8'), world))
    await livesThroughARotation(world, binary, [...args, 'prices.mjs'], cwd)
  })
}

test('bun: an agent of its undici takes no interceptor, whatever keyswap does', { skip: !existsSync(join(PACKAGE, 'node_modules/.bin/bun')) }, async () => {
  const binary = join(PACKAGE, 'node_modules/.bin/bun')
  const { stdout } = await run(binary, ['-e', "console.log(typeof new (require('undici').Agent)().compose)"], { cwd: PACKAGE })
  assert.equal(stdout, 'undefined\n')
})
