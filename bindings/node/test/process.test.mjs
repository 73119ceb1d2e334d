// Processes and workers: a program ends when its work has, and no worker is in another's way.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'

import { once, program, worldOf } from './world.mjs'

const OPEN = `
  import { Client, createFetch, endpoint, header, KeySwap } from 'keyswap'
  const [url, bootstrap, apiUrl] = process.argv.slice(1)
  const keys = new KeySwap(endpoint(url, { bootstrap }))
`
/** What is left to do when the work of a program is done, and whether it closes. */
const ENDINGS = {
  'with nothing pending': 'await keys.ready()',
  'closed': 'await keys.ready(); keys.close()',
  'shut down': 'await keys.ready(); await keys.shutdown()',
  'with events that nobody ends': `await keys.ready(); (async () => { for await (const event of keys.events()); })()`,
  'with a listener': `await keys.ready(); keys.on('event', () => {})`,
  'after a request': `
    const api = new Client(keys, { baseURL: apiUrl, scheme: header('x-api-key') })
    await (await api.get('/v1/price')).bytes()`,
  'with a source of its own that hangs': `
    const own = new KeySwap(() => new Promise(() => {}))
    await keys.ready()`,
  'before the first set is there': '',
}

for (const [name, code] of Object.entries(ENDINGS)) {
  test(`a program ends within 200 ms of its work, ${name}`, async (t) => {
    const world = await worldOf(t)
    if (code === '') await world.do('endpoint', { fault: 'hang' })
    const timed = `${OPEN}${code}
      const done = performance.now()
      process.on('exit', () => console.log(performance.now() - done))`
    const { status, stdout, stderr } = await program(timed, world.setUrl, world.bootstrap, world.apiUrl)
    assert.deepEqual([status, stderr], [0, ''])
    assert.ok(Number(stdout) < 200, `${stdout} ms`)
  })
}

test('process.exit with work pending is silent', async (t) => {
  const world = await worldOf(t)
  await world.do('endpoint', { fault: 'hang' })
  const code = `${OPEN}
    const api = new Client(keys, { baseURL: apiUrl, scheme: header('x-api-key') })
    for (let n = 0; n < 50; n += 1) { keys.ready(); api.get('/v1/price') }
    setTimeout(() => process.exit(7), 20)`
  const outcomes = await Promise.all(
    Array.from({ length: 10 }, () => program(code, world.setUrl, world.bootstrap, world.apiUrl)),
  )
  for (const { status, stderr } of outcomes) assert.deepEqual([status, stderr], [7, ''])
})

test('a rejection that nobody waited for is not made up', async (t) => {
  const world = await worldOf(t)
  await world.do('endpoint', { fault: 'bootstrap_invalid' })
  const code = `${OPEN}
    const api = createFetch(keys, { baseURL: apiUrl, scheme: header('x-api-key') })
    const alive = setInterval(() => {}, 1000)
    keys.on('fetchFailed', () => { console.log('told'); keys.close(); clearInterval(alive) })`
  const { status, stdout, stderr } = await program(code, world.setUrl, world.bootstrap, world.apiUrl)
  assert.deepEqual([status, stdout, stderr], [0, 'told\n', ''])
})

test('workers have handles of their own, and may be ended at any time', async (t) => {
  const world = await worldOf(t)
  const code = `
    const { parentPort, workerData } = require('node:worker_threads')
    const { Client, createFetch, endpoint, header, KeySwap } = require('keyswap')
    const { url, bootstrap, apiUrl, hangs } = workerData
    const keys = new KeySwap(endpoint(url, { bootstrap }))
    const fetch = createFetch(keys, { baseURL: apiUrl, scheme: header('x-api-key') })
    const own = new KeySwap(() => hangs ? new Promise(() => {}) : { current: { id: 'own', key: 'x' } })
    keys.ready().then(async () => {
      parentPort.postMessage((await (await fetch('/v1/price')).json()).credential)
      if (hangs) setInterval(() => keys.refresh().catch(() => {}), 1)
    })`
  const data = { url: world.setUrl, bootstrap: world.bootstrap, apiUrl: world.apiUrl }
  const spawned = (hangs) => new Worker(code, { eval: true, workerData: { ...data, hangs } })
  for (let round = 0; round < 3; round += 1) {
    const workers = Array.from({ length: 4 }, (_, nth) => spawned(nth % 2 === 1))
    // One may have ended before another has told anything.
    const ended = workers.map((worker) => once(worker, 'exit'))
    const told = await Promise.all(workers.map((worker) => once(worker, 'message')))
    assert.deepEqual(told.flat(), ['k1', 'k1', 'k1', 'k1'])
    await Promise.all(workers.map(async (worker, nth) => {
      if (nth % 2 === 1) await worker.terminate()
      assert.deepEqual(await ended[nth], [nth % 2])
    }))
  }
  const here = await world.ready()
  assert.equal(here.current.id, 'k1', 'the main thread is in nobody\'s way')
})
