// Clients that others have written, through the flow of an order: it is made, followed, revised and cancelled, while the
// connection that it is followed over is cut. Writes a line for each client: `ok`, or `failed` and why.
//
// Not here: the clients (npm, see `tests/run`), and starting what they ask.
// usage: node flow.mjs FOLDER URL TOKEN CONSUMER
import { createHash } from 'node:crypto'
import net from 'node:net'
import path from 'node:path'
import { createRequire } from 'node:module'
import { isDeepStrictEqual } from 'node:util'

const [folder, url, token, consumer] = process.argv.slice(2)
const require = createRequire(path.join(folder, 'package.json'))
const graphql = require('graphql')
const ws = require('graphql-ws')
const sse = require('graphql-sse')
const WebSocket = require('ws')

const authorization = `Bearer ${token}`
const patience = 30_000

const order = 'orderId state orderTotal'
const CREATE = `mutation Create($input: CreateOrderInput!) { createOrder(input: $input) { ${order} } }`
const REVISE = `mutation Revise($input: ReviseOrderInput!) { reviseOrder(input: $input) { ${order} } }`
const CANCEL = `mutation Cancel($input: CancelOrderInput!) { cancelOrder(input: $input) { ${order} } }`
const READ = `query Read($id: ID!) { order(orderId: $id) { ${order} } }`
const FOLLOW = `subscription Follow($id: ID!, $after: String) { orderChanged(orderId: $id, after: $after) { cursor order { ${order} } } }`
const input = {
  consumerId: consumer,
  restaurantId: '1',
  deliveryTime: '2030-01-01T19:00:00',
  deliveryAddress: { street1: '9 Amazing View', city: 'Oakland', state: 'CA', zip: '94612' },
  lineItems: [{ menuItemId: '1', quantity: 5 }],
}

function assert(holds, ...told) {
  if (!holds) throw new Error(told.map((it) => JSON.stringify(it)).join(' '))
}

// A proxy whose connections can be cut.
async function proxy() {
  const { hostname, port } = new URL(url)
  const open = new Set()
  const server = net.createServer((client) => {
    const service = net.connect(Number(port), hostname)
    for (const [from, to] of [[client, service], [service, client]]) {
      open.add(from)
      from.on('error', () => to.destroy()).on('close', () => { open.delete(from); to.destroy() })
      from.pipe(to)
    }
  })
  await new Promise((done) => server.listen(0, '127.0.0.1', done))
  const through = new URL(url)
  through.port = server.address().port
  return { url: through.href, cut: () => open.forEach((socket) => socket.destroy()), close: () => server.close() }
}

const toSocket = (href) => href.replace('http', 'ws')

function socketClient(href) {
  return ws.createClient({
    url: toSocket(href), webSocketImpl: WebSocket, connectionParams: { authorization }, lazy: true,
    retryAttempts: 20, retryWait: () => new Promise((done) => setTimeout(done, 50)), shouldRetry: () => true,
  })
}

// What one who follows sees: `follow(variables, sink)` begins and returns what ends it.
function watcher(id, follow) {
  const seen = []
  const variables = { id, after: null }
  const waiting = []
  let complete = false
  const look = () => waiting.forEach((it) => it.so() && it.done())
  const stop = follow(variables, {
    next(result) {
      const change = result.data?.orderChanged
      if (!change) return sink.error(new Error(JSON.stringify(result)))
      variables.after = change.cursor // whoever comes back says what it has
      seen.push([change.cursor, change.order.state, change.order.orderTotal])
      look()
    },
    error(error) { waiting.forEach((it) => it.fail(error)) },
    complete() { complete = true; look() },
  })
  const sink = { error: (error) => waiting.forEach((it) => it.fail(error)) }
  const until = (so) => new Promise((done, fail) => {
    setTimeout(() => fail(new Error(`nothing in time after ${JSON.stringify(seen)}`)), patience).unref()
    waiting.push({ so, done, fail })
    look()
  })
  return { seen, stop, until, state: (state) => until(() => seen.at(-1)?.[1] === state), over: () => until(() => complete) }
}

// The flow, with the writes of `client` and what it sees through connections that are cut.
async function flow({ write, read, follow }) {
  const { orderId } = (await write(CREATE, { input })).createOrder
  const plain = socketClient(url)
  const through = await proxy()
  const all = watcher(orderId, (variables, sink) => plain.subscribe({ query: FOLLOW, variables }, sink))
  await all.state('APPROVED')
  const cut = watcher(orderId, follow(through.url))
  await cut.state('APPROVED')
  through.cut()
  const revised = { orderId, lineItems: [{ menuItemId: '1', quantity: 10 }] }
  await write(REVISE, { input: revised })
  const total = (await all.until(() => all.seen.at(-1)[2] !== all.seen[0][2] && all.seen.at(-1)[1] === 'APPROVED'), all.seen.at(-1)[2])
  await cut.until(() => cut.seen.at(-1)[2] === total && cut.seen.at(-1)[1] === 'APPROVED')
  assert((await read(READ, { id: orderId })).order.orderTotal === total, 'the query says another total')
  through.cut()
  await write(CANCEL, { input: { orderId } })
  await Promise.all([all.over(), cut.over()])
  const after = all.seen.slice(all.seen.findIndex(([cursor]) => cursor === cut.seen[0][0]))
  assert(isDeepStrictEqual(cut.seen, after), 'it missed something, or saw it twice', cut.seen, after)
  assert(cut.seen.at(-1)[1] === 'CANCELLED', cut.seen)
  through.close()
  await plain.dispose()
  return `${cut.seen.length} events, two cuts`
}

async function post(query, variables) {
  const headers = { authorization, 'content-type': 'application/json', accept: 'application/graphql-response+json' }
  const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify({ query, variables }) })
  const { data, errors } = await response.json()
  assert(!errors, errors)
  return data
}

function once(client, query, variables) {
  return new Promise((done, fail) => {
    let result
    client.subscribe({ query, variables }, {
      next: (it) => { result = it }, error: fail,
      complete: () => (result?.errors ? fail(new Error(JSON.stringify(result.errors))) : done(result.data)),
    })
  })
}

const clients = {
  async 'graphql-ws'() {
    const direct = socketClient(url)
    const ask = (query, variables) => once(direct, query, variables)
    const follow = (href) => (variables, sink) => socketClient(href).subscribe({ query: FOLLOW, variables }, sink)
    const told = await flow({ write: ask, read: ask, follow })
    await direct.dispose()
    return told
  },

  async 'graphql-sse'() {
    const made = (href) => sse.createClient({
      url: href, headers: { authorization }, retryAttempts: 20, retry: () => new Promise((done) => setTimeout(done, 50)),
    })
    const direct = made(url)
    const ask = (query, variables) => once(direct, query, variables)
    const follow = (href) => (variables, sink) => made(href).subscribe({ query: FOLLOW, variables }, sink)
    return flow({ write: ask, read: ask, follow })
  },

  async '@apollo/client'() {
    const { ApolloClient, HttpLink, InMemoryCache, split } = require('@apollo/client')
    const { PersistedQueryLink } = require('@apollo/client/link/persisted-queries')
    const sha256 = (text) => createHash('sha256').update(text).digest('hex')
    const asked = []
    const recorded = (href, options) => { asked.push([options.method, href]); return fetch(href, options) }
    const http = new HttpLink({ uri: url, headers: { authorization }, fetch: recorded })
    const persisted = new PersistedQueryLink({ sha256, useGETForHashedQueries: true }).concat(http)
    const client = new ApolloClient({ cache: new InMemoryCache(), link: persisted })
    const none = { fetchPolicy: 'no-cache' }
    const write = async (text, variables) => (await client.mutate({ mutation: graphql.parse(text), variables, ...none })).data
    const read = async (text, variables) => (await client.query({ query: graphql.parse(text), variables, ...none })).data
    // Over multipart, which Apollo does not open again by itself: whoever uses it does.
    const follow = (href) => (variables, sink) => {
      const link = new HttpLink({ uri: href, headers: { authorization } })
      const through = new ApolloClient({ cache: new InMemoryCache(), link })
      let last
      const begin = () => {
        let over = false
        // A connection that is cut looks like an end to it: what is over has a state that says so.
        const again = () => { if (!over) { over = true; last === 'CANCELLED' ? sink.complete() : setTimeout(begin, 50) } }
        const query = graphql.parse(FOLLOW)
        through.subscribe({ query, variables: { ...variables }, ...none }).subscribe({
          next(result) {
            if (result.error) return again()
            last = result.data.orderChanged.order.state
            sink.next(result)
          },
          error: again,
          complete: again,
        })
      }
      begin()
    }
    const told = await flow({ write, read, follow })
    await read(READ, { id: '99' })
    const hashed = asked.filter(([method, href]) => method === 'GET' && href.includes('persistedQuery'))
    assert(hashed.length > 1 && asked.some(([method]) => method === 'POST'), asked)
    return `${told}; ${hashed.length} by hash`
  },

  async '@urql/core'() {
    const { Client, fetchExchange } = require('@urql/core')
    const made = (href) => new Client({
      url: href, exchanges: [fetchExchange], fetchSubscriptions: true, fetchOptions: { headers: { authorization } }, preferGetMethod: false,
    })
    const direct = made(url)
    const data = ({ data, error }) => { assert(!error, error?.message); return data }
    const write = async (text, variables) => data(await direct.mutation(text, variables).toPromise())
    const read = async (text, variables) => data(await direct.query(text, variables, { requestPolicy: 'network-only' }).toPromise())
    const follow = (href) => (variables, sink) => {
      let last
      const begin = () => {
        let over = false
        const again = () => { if (!over) { over = true; last === 'CANCELLED' ? sink.complete() : setTimeout(begin, 50) } }
        const { pipe, subscribe, onEnd } = require('wonka')
        pipe(
          made(href).subscription(FOLLOW, { ...variables }),
          onEnd(again),
          subscribe((result) => {
            if (result.error) return again()
            // It tells the last result once more when it is over.
            if (result.data.orderChanged.cursor === variables.after) return
            last = result.data.orderChanged.order.state
            sink.next(result)
          }),
        )
      }
      begin()
    }
    return flow({ write, read, follow })
  },

  // What the reference's own client does: GET, `__typename` everywhere, ids as numbers.
  async reference() {
    const query = 'query($id: Int!) { order(orderId: $id) { orderId state __typename } __typename }'
    for (const id of [99, '99']) {
      const target = new URL(url)
      target.searchParams.set('query', query)
      target.searchParams.set('variables', JSON.stringify({ id }))
      const response = await fetch(target, { headers: { authorization } })
      const { data, errors } = await response.json()
      assert(!errors && data.order.orderId === '99' && data.order.__typename === 'Order', id, data, errors)
    }
    assert((await post(READ, { id: '99' })).order.state, 'no state')
    return 'GET, __typename, ids as numbers and as texts'
  },
}

for (const [name, run] of Object.entries(clients)) {
  try {
    console.log(`ok\t${name}\t${await run()}`)
  } catch (error) {
    console.log(`failed\t${name}\t${error?.stack ?? JSON.stringify(error)}`)
  }
}
process.exit(0)
