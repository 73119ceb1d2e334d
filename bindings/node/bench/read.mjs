// What reading a fresh credential costs, in nanoseconds of CPU: read.mjs ROUNDS. The least that is possible is a cache in
// JavaScript with a check of its generation in shared memory.
import { KeySwap } from 'keyswap'

const COUNT = 5_000_000
const KEY = 'k'.repeat(40)

class Limit {
  #generation = new Int32Array(new SharedArrayBuffer(4))
  #seen = 0
  #value = { key: KEY }
  get current() {
    if (Atomics.load(this.#generation, 0) !== this.#seen) {
      this.#seen = Atomics.load(this.#generation, 0)
      this.#value = { key: KEY }
    }
    return this.#value
  }
}

const keys = await KeySwap.follow(() => ({ current: { id: 'k1', key: KEY } }))
const limit = new Limit()
let sink
const WAYS = {
  limit: (count) => { for (let n = 0; n < count; n += 1) sink = limit.current },
  current: (count) => { for (let n = 0; n < count; n += 1) sink = keys.current },
  key: (count) => { for (let n = 0; n < count; n += 1) sink = keys.key() },
}

function timed(way, count) {
  const began = process.cpuUsage()
  way(count)
  const { user, system } = process.cpuUsage(began)
  return ((user + system) * 1000) / count
}

const seen = Object.fromEntries(Object.keys(WAYS).map((name) => [name, []]))
for (const way of Object.values(WAYS)) way(COUNT)
for (let round = 0; round < Number(process.argv[2]); round += 1) {
  for (const [name, way] of Object.entries(WAYS)) seen[name].push(timed(way, COUNT))
}
if (sink !== KEY) throw new Error('not the key')
const median = (all) => all.sort((a, b) => a - b)[all.length >> 1]
console.log(JSON.stringify(Object.fromEntries(Object.entries(seen).map(([name, all]) => [name, median(all)]))))
keys.close()
