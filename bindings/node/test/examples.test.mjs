// The examples, run as programs against a real endpoint and API; and the README's, in an empty folder that has the
// packed package.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import { hereOf, livesThroughARotation, PRICES } from './prices.mjs'
import { program, ROOT, worldOf } from './world.mjs'

const PACKAGE = join(import.meta.dirname, '..')
const EXAMPLES = join(ROOT, 'examples/node')

/** A folder of its own, gone with the test. */
function folder(t) {
  const made = mkdtempSync(join(tmpdir(), 'keyswap-'))
  t.after(() => rmSync(made, { recursive: true, force: true }))
  return made
}

function run(command, args, cwd, env = {}) {
  return execFileSync(command, args, { cwd, encoding: 'utf8', env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
}

/** Compiles, strictly; what it wrote is run. */
function compiled(cwd, file, kind) {
  const tsc = join(PACKAGE, 'node_modules/typescript/bin/tsc')
  const options = ['--strict', '--target', 'es2022', '--module', 'node16', '--moduleResolution', 'node16', '--types', 'node', '--skipLibCheck', 'false']
  writeFileSync(join(cwd, 'package.json'), JSON.stringify({ type: kind }))
  run(process.execPath, [tsc, ...options, '--outDir', 'out', file], cwd)
  writeFileSync(join(cwd, 'out/package.json'), JSON.stringify({ type: kind }))
}

// The README's first one names its URLs, and goes through a rotation: see below.
const files = readdirSync(EXAMPLES).filter((file) => !file.startsWith('prices'))

test('there are examples, in both languages', () => {
  assert.ok(files.length >= 6 && files.some((file) => file.endsWith('.ts')))
})

for (const file of files) {
  test(`example ${file}`, async (t) => {
    const world = await worldOf(t)
    const cwd = folder(t)
    mkdirSync(join(cwd, 'node_modules'))
    for (const name of ['axios', 'openai', 'undici', '@types', 'undici-types']) {
      symlinkSync(join(PACKAGE, 'node_modules', name), join(cwd, 'node_modules', name))
    }
    symlinkSync(PACKAGE, join(cwd, 'node_modules/keyswap'))
    cpSync(join(EXAMPLES, file), join(cwd, file))
    let main = file
    if (file.endsWith('.ts')) {
      compiled(cwd, file, 'module')
      main = join('out', file.replace(/ts$/, 'js'))
    }
    const env = { KEYSWAP_SET_URL: world.setUrl, KEYSWAP_BOOTSTRAP: world.bootstrap, API_URL: world.apiUrl }
    const said = run(process.execPath, [main], cwd, env)
    assert.ok(said.length > 0 && !said.includes('ks_'), said)
    assert.equal((await world.counters()).leaks, 0)
  })
}

test('the packed package: the README runs unchanged as both kinds of module, and compiles strictly', async (t) => {
  const world = await worldOf(t)
  const cwd = folder(t)
  const packed = join(cwd, 'packed')
  mkdirSync(packed)
  // The platform's package, as the release makes it: the addon, and a name that says where it runs.
  const addon = readdirSync(PACKAGE).find((name) => name.endsWith('.node'))
  const platform = addon.replace(/^keyswap\.|\.node$/g, '')
  const { version } = JSON.parse(readFileSync(join(PACKAGE, 'package.json'), 'utf8'))
  const native = join(cwd, 'native')
  mkdirSync(native)
  cpSync(join(PACKAGE, addon), join(native, addon))
  const named = { name: `@keyswap/native-${platform}`, version, main: addon, os: [process.platform], cpu: [process.arch] }
  writeFileSync(join(native, 'package.json'), JSON.stringify(named))
  for (const from of [PACKAGE, native]) run('npm', ['pack', '--silent', '--pack-destination', packed], from)
  const tarballs = readdirSync(packed).map((name) => join(packed, name))
  assert.equal(tarballs.length, 2)
  const app = join(cwd, 'app')
  mkdirSync(app)
  writeFileSync(join(app, 'package.json'), '{"private": true}')
  run('npm', ['install', '--silent', '--no-save', '--omit=peer', '--offline', '--no-audit', ...tarballs], app)
  assert.deepEqual(readdirSync(join(app, 'node_modules')).sort(), ['.package-lock.json', '@keyswap', 'keyswap'])
  assert.ok(!readdirSync(join(app, 'node_modules/keyswap')).some((name) => name.endsWith('.node')))

  const readme = readFileSync(join(PACKAGE, 'README.md'), 'utf8')
  const example = /```js\n([^]*?)```/.exec(readme)[1]
  assert.equal(example, readFileSync(PRICES, 'utf8'))
  const here = hereOf(example, world)
  const required = here.replace(/import (\{.*\}) from '(.*)'/g, "const $1 = require('$2')")
  writeFileSync(join(app, 'esm.mjs'), here)
  writeFileSync(join(app, 'cjs.cjs'), `async function main() {${required}}\nmain()`)
  await livesThroughARotation(world, process.execPath, ['esm.mjs'], app)
  await livesThroughARotation(world, process.execPath, ['cjs.cjs'], app)

  const [, own] = /```js\n(import \{ Authorizer[^]*?)```/.exec(readme)
  writeFileSync(join(app, 'own.mjs'), `${hereOf(own, world)}\nconsole.log(price.credential)\n`)
  assert.match(run(process.execPath, ['own.mjs'], app, { KEYSWAP_BOOTSTRAP: world.bootstrap }), /^k\d\n$/)

  mkdirSync(join(app, 'node_modules/@types'))
  symlinkSync(join(PACKAGE, 'node_modules/@types/node'), join(app, 'node_modules/@types/node'))
  symlinkSync(join(PACKAGE, 'node_modules/undici-types'), join(app, 'node_modules/undici-types'))
  const event = "keys.on('swapped', ({ to }) => { const id: string = to })\n"
  const typed = example.replace('for (;;)', `const id: string = keys.current.id\n${event}export { id }\nfor (;;)`)
  writeFileSync(join(app, 'typed.mts'), typed)
  compiled(app, 'typed.mts', 'commonjs')
  writeFileSync(join(app, 'wrong.mts'), typed.replace('const id: string', 'const id: number'))
  assert.throws(() => compiled(app, 'wrong.mts', 'commonjs'), ({ stdout }) => stdout.includes('TS2322'))
  writeFileSync(join(app, 'wrong.mts'), typed.replace("'swapped'", "'expired'"))
  assert.throws(() => compiled(app, 'wrong.mts', 'commonjs'), ({ stdout }) => stdout.includes('TS2339'))
})

test('the version is that of the workspace', () => {
  const { version } = JSON.parse(readFileSync(join(PACKAGE, 'package.json'), 'utf8'))
  const workspace = readFileSync(join(ROOT, 'Cargo.toml'), 'utf8')
  assert.equal(version, /\[workspace\.package\]\s+version = "(.*)"/.exec(workspace)[1])
})

test('both kinds of module share one copy of each class', async (t) => {
  const world = await worldOf(t)
  const code = `
    import { createRequire } from 'node:module'
    import { KeyswapError, KeySwap } from 'keyswap'
    const required = createRequire(import.meta.url)('keyswap')
    console.log(required.KeyswapError === KeyswapError && required.KeySwap === KeySwap)`
  assert.equal((await program(code, world.setUrl)).stdout, 'true\n')
})
