// The package's own client, from CommonJS.
const { Client, header, KeySwap } = require('keyswap')

async function main() {
  const keys = await KeySwap.follow(process.env.KEYSWAP_SET_URL)
  const api = new Client(keys, { baseURL: process.env.API_URL, scheme: header('x-api-key') })
  const price = await (await api.get('/v1/price', { query: { symbol: 'BTC' } })).raiseForStatus().json()
  console.log(`${price.credential} was accepted`)
}

main()
