// Builds the addon, for the target that is named or for this machine, and compiles the TypeScript to CommonJS, with a thin
// ES module beside each entry: there is one copy of each class, however a program imports it.
//
//     npm run build -- [TARGET] [--release]
import { execFileSync } from 'node:child_process'
import { rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

const root = dirname(import.meta.dirname)
const napi = ['build', '--platform', '--js', 'native.js', '--dts', 'native.d.ts']
for (const argument of process.argv.slice(2)) {
  napi.push(...(argument.startsWith('--') ? [argument] : ['--target', argument]))
}
execFileSync('npx', ['--no-install', 'napi', ...napi], { cwd: root, stdio: 'inherit' })
const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc')
rmSync(join(root, 'dist'), { recursive: true, force: true })
execFileSync(process.execPath, [tsc, '-p', root], { cwd: root, stdio: 'inherit' })
for (const entry of ['index', 'undici', 'axios']) {
  for (const kind of ['mjs', 'd.mts']) {
    writeFileSync(join(root, 'dist', `${entry}.${kind}`), `export * from './${entry}.js'\n`)
  }
}
