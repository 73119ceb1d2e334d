// With `node --import ./test/peers.mjs`, the package and its tests get the oldest axios and undici that it takes, or
// those that KEYSWAP_PEERS names.
import Module, { register } from 'node:module'

const names = JSON.parse(process.env.KEYSWAP_PEERS ?? '{"axios": "axios-oldest", "undici": "undici-oldest"}')

const hook = `export const resolve = (name, context, next) => next(${JSON.stringify(names)}[name] ?? name, context)`
register(`data:text/javascript,${encodeURIComponent(hook)}`)

const { _resolveFilename: resolve } = Module
Module._resolveFilename = (name, ...more) => resolve.call(Module, names[name] ?? name, ...more)
