// The package in a bundle, as the README says to make one: a program that goes through a rotation with each library.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'

import * as esbuild from 'esbuild'
import webpack from 'webpack'

import { worldOf } from './world.mjs'

const PACKAGE = join(import.meta.dirname, '..')
const PROGRAM = join(import.meta.dirname, 'rotation.mjs')
const ALL = { client: true, fetch: true, undici: true, axios: true }

/** A folder for what is bundled, gone with the test. */
function folder(t) {
  const made = mkdtempSync(join(tmpdir(), 'keyswap-'))
  t.after(() => rmSync(made, { recursive: true, force: true }))
  return made
}

/** Installs what stays outside of a bundle. */
function linked(cwd) {
  mkdirSync(join(cwd, 'node_modules'))
  symlinkSync(PACKAGE, join(cwd, 'node_modules/keyswap'))
  for (const name of ['axios', 'undici']) symlinkSync(join(PACKAGE, 'node_modules', name), join(cwd, 'node_modules', name))
}

async function rotated(t, file) {
  const world = await worldOf(t)
  const env = {
    SET_URL: world.setUrl, API_URL: world.apiUrl, CONTROL_URL: world.urls.control_url, BOOTSTRAP: world.bootstrap,
  }
  const { stdout } = await promisify(execFile)(process.execPath, [file], { env: { ...process.env, ...env } })
  assert.deepEqual(JSON.parse(stdout), ALL)
  assert.equal((await world.counters()).leaks, 0)
}

for (const format of ['cjs', 'esm']) {
  test(`esbuild: a bundle with keyswap outside, ${format}`, async (t) => {
    const cwd = folder(t)
    const outfile = join(cwd, format === 'esm' ? 'bundle.mjs' : 'bundle.cjs')
    await esbuild.build({
      entryPoints: [PROGRAM], bundle: true, platform: 'node', format, outfile, logLevel: 'error',
      ...(format === 'esm' ? { packages: 'external' } : { external: ['keyswap'] }),
    })
    linked(cwd)
    await rotated(t, outfile)
  })
}

test('esbuild: all in one bundle, with the addon beside it', async (t) => {
  const cwd = folder(t)
  await esbuild.build({
    entryPoints: [PROGRAM], bundle: true, platform: 'node', outdir: cwd, loader: { '.node': 'copy' }, logLevel: 'error',
  })
  assert.ok(readdirSync(cwd).some((name) => name.endsWith('.node')))
  await rotated(t, join(cwd, 'rotation.js'))
})

test('webpack: a bundle with keyswap outside', async (t) => {
  const cwd = folder(t)
  const stats = await promisify(webpack)({
    mode: 'production', optimization: { minimize: false }, target: 'node', entry: PROGRAM, output: { path: cwd, filename: 'bundle.cjs' },
    externalsType: 'commonjs', externals: [/^keyswap(\/|$)/],
  })
  assert.ok(!stats.hasErrors(), stats.toString())
  linked(cwd)
  await rotated(t, join(cwd, 'bundle.cjs'))
})
