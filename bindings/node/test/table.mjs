// A table of what each adapter does: node --test-reporter=./test/table.mjs test/behaviours.test.mjs

/** Tests are called `ADAPTER: BEHAVIOUR`, or `ADAPTER: BEHAVIOUR: KIND`; a limit of the library beneath is a diagnostic. */
export default async function* table(events) {
  const adapters = new Set()
  const rows = new Map()
  let last
  for await (const { type, data } of events) {
    // It comes right after the result that it is about.
    if (type === 'test:diagnostic' && data.message.startsWith('limit: ')) last.limit = data.message
    if ((type !== 'test:pass' && type !== 'test:fail') || data.skip) continue
    const [adapter, behaviour, ...kind] = data.name.split(': ')
    if (behaviour === undefined) continue
    adapters.add(adapter)
    const row = rows.get(behaviour) ?? new Map()
    rows.set(behaviour, row)
    last = row.get(adapter) ?? { failed: [] }
    row.set(adapter, last)
    if (type === 'test:fail') last.failed.push(kind.join(': '))
  }
  const cell = (found) => {
    if (found === undefined) return ''
    return found.failed.length > 0 ? `**no**: ${found.failed.join(', ')}` : (found.limit ?? 'yes')
  }
  yield `| | ${[...adapters].join(' | ')} |\n|${' --- |'.repeat(adapters.size + 1)}\n`
  for (const [behaviour, row] of rows) {
    yield `| ${behaviour} | ${[...adapters].map((adapter) => cell(row.get(adapter))).join(' | ')} |\n`
  }
}
