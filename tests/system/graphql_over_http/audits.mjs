// Runs the public audits of GraphQL over HTTP against URL and writes a line for each: result, id, name, and why.
//
// Not here: the audits (npm `graphql-http`), and starting what they are run against.
// usage: node run.mjs FOLDER URL
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const [folder, url] = process.argv.slice(2)
const { serverAudits } = await import(pathToFileURL(path.join(folder, 'lib/audits/server.mjs')).href)
for (const audit of serverAudits({ url })) {
  const { status, name, reason } = await audit.fn()
  console.log([status, audit.id, name, reason ?? ''].join('\t'))
}
