// Runs the public HTTP cache tests against the gateway at BASE and writes a line for each: kind, result, id, and why.
//
// Not here: the tests (npm `http-cache-tests`), starting what they need (`../http_cache.rs`).
// usage: node run.mjs FOLDER BASE [ID]
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const [folder, base, only] = process.argv.slice(2)
const load = name => import(pathToFileURL(path.join(folder, name)).href)
const { runTests, getResults } = await load('client/runner.mjs')
const { determineTestResult } = await load('lib/display.mjs')
const suites = [...(await load('tests/index.mjs')).default, (await load('tests/surrogate-control.mjs')).default]
const fetch = (await import(pathToFileURL(path.join(folder, '../node_modules/node-fetch/lib/index.mjs')).href)).default

// The version on npm was written for RFC 7234. Where RFC 9111 says otherwise, the suite's later versions do as well, and what
// they expect is expected here; AS_PUBLISHED leaves the old expectations.
const amendments = [
  // Of several values of `Age` the first counts, and one that is no number is ignored (RFC 9111 section 5.1).
  [/^age-parse-(nonnumeric|negative|float|prefix-twoline|dup-0|dup-0-twoline|dup-old)$/, test => {
    test.requests[1].expected_type = 'cached'
  }],
  // So what a parameter there means is nothing that a cache must do.
  [/^age-parse-(numeric-)?parameter$/, test => { test.kind = 'check' }],
  // An answer of the gateway's own, which has no number of the service's, does not come from the cache.
  [/^stale-close-(must-revalidate|proxy-revalidate|no-cache|s-maxage=2)$/, test => {
    delete test.requests[1].expected_type
    Object.assign(test.requests[1], { expected_status: 502, check_body: false, expected_response_headers_missing: ['server-request-count'] })
  }]
]
if (!process.env.AS_PUBLISHED) {
  for (const test of suites.flatMap(suite => suite.tests)) {
    amendments.filter(([id]) => id.test(test.id)).forEach(([, amend]) => amend(test))
  }
}

const chosen = suites.map(suite => ({ ...suite, tests: suite.tests.filter(test => !only || test.id === only) }))
if (only) chosen.forEach(suite => suite.tests.forEach(test => { test.dump = true }))
await runTests(chosen, fetch, false, base)
const results = getResults()
// The symbols that the suite's own command line shows.
const names = { '✅': 'pass', '⛔️': 'fail', '⚠️': 'optional-fail', Y: 'yes', N: 'no', '🔹': 'setup-fail', '⁉️': 'harness-fail', '⚪️': 'dependency-fail', '↻': 'retry', '-': 'untested' }
for (const suite of chosen) {
  for (const test of suite.tests.filter(test => !test.browser_only)) {
    const symbol = determineTestResult(suites, test.id, results, !only)[2]
    const why = Array.isArray(results[test.id]) ? results[test.id].join(': ') : ''
    console.log([test.kind || 'required', names[symbol], test.id, why].join('\t'))
  }
}
