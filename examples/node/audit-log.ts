// Each event as a line of JSON, and a source of the program's own. Typed.
import { type Document, type Event, KeySwap, KeyswapError } from 'keyswap'

let version = 1
const vault = async (): Promise<Document> => ({
  current: { id: `k${version}`, key: `material of ${version}`, expiresAt: new Date(Date.now() + 3_600_000) },
})

const keys = new KeySwap(vault, { name: 'trading', policy: { fetchFloor: 10, fetchFloorMin: 10 } })
keys.on('event', (event: Event) => {
  console.log(JSON.stringify({ at: new Date().toISOString(), ...event }))
})

// The name of an event says which fields it has.
keys.on('swapped', ({ from, to }) => console.log(from === undefined ? `${to} is in use` : `${to} replaces ${from}`))

async function main(): Promise<void> {
  await keys.ready({ timeout: 5000 })
  version = 2
  await keys.refresh()
  keys.close()
  try {
    keys.current
  } catch (error) {
    if (error instanceof KeyswapError) console.log(error.code)
  }
}

void main()
