import { setTimeout } from 'node:timers/promises'
import { createFetch, header, KeySwap } from 'keyswap'

const keys = await KeySwap.follow('https://keys.example.com/keyswap/v1/sets/trading')
const fetch = createFetch(keys, { baseURL: 'https://api.example.com', scheme: header('x-api-key') })

for (;;) {
  const price = await (await fetch('/v1/price/BTC')).json()
  console.log(price, 'read with', keys.current.id)
  await setTimeout(1000)
}
