// What the package costs beside the same libraries without it, in one run: npm run bench [-- --check --rounds 5 --seconds 4]
//
// It builds the addon as it is released, unless --built says that it is. A request costs the CPU time of its whole client
// process. Medians of the rounds are shown, and of their ratios. With --check a missed goal is a failure.
import { execFileSync, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'

const { values } = parseArgs({
  options: {
    check: { type: 'boolean', default: false },
    built: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '4' },
  },
})
const here = import.meta.dirname
const KINDS = ['undici', 'fetch', 'undici-fetch']

const node = (file, ...args) =>
  JSON.parse(execFileSync(process.execPath, [join(here, file), ...args], { cwd: dirname(here), encoding: 'utf8' }))
const median = (all) => all.sort((a, b) => a - b)[all.length >> 1]

if (!values.built) {
  const host = /host: (.*)/.exec(execFileSync('rustc', ['-vV'], { encoding: 'utf8' }))[1]
  execFileSync('npm', ['run', '--silent', 'build', '--', host, '--release'], { cwd: dirname(here), stdio: 'inherit' })
}

const reads = node('read.mjs', String(3 * Number(values.rounds)))
const server = spawn(process.execPath, [join(here, 'server.mjs')], { stdio: ['pipe', 'pipe', 'inherit'] })
const port = await new Promise((resolve) => createInterface({ input: server.stdout }).once('line', resolve))
const costs = Object.fromEntries(KINDS.map((kind) => [kind, []]))
for (let round = 0; round < Number(values.rounds); round += 1) {
  for (const kind of KINDS) costs[kind].push(node('client.mjs', kind, `http://127.0.0.1:${port}/v1/price`, values.seconds))
}
server.stdin.end()

console.log(`node ${process.version}`)
for (const [name, ns] of Object.entries(reads)) console.log(`${name.padEnd(24)} ${ns.toFixed(1).padStart(8)} ns`)
for (const [kind, rounds] of Object.entries(costs)) {
  const [bare, keyed] = ['bare', 'keyed'].map((which) => median(rounds.map((round) => round[which])).toFixed(1).padStart(8))
  console.log(`${kind.padEnd(24)} ${bare} us a request, with keyswap ${keyed}`)
}
const ratio = (kind) => median(costs[kind].map(({ bare, keyed }) => keyed / bare))
let missed = 0
const goal = (what, found, most) => {
  const ok = found <= most
  missed += ok ? 0 : 1
  console.log(`${ok ? 'ok    ' : 'MISSED'} ${what.padEnd(52)} ${found.toFixed(2)}  <= ${most}`)
}
goal('keys.current / a cache that checks its generation', reads.current / reads.limit, 1.5)
goal('undici.request with the interceptor / without', ratio('undici'), 1.02)
goal('createFetch / the global fetch', ratio('fetch'), 1.08)
goal("createFetch / undici's own fetch", ratio('undici-fetch'), 1.08)
process.exitCode = values.check && missed > 0 ? 1 : 0
