// Prints the licences of all that is in GraphiQL's bundle, as its source map tells, and of React; equal texts once.
// node licences.mjs NODE_MODULES
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

const modules = process.argv[2];
const { sources } = JSON.parse(readFileSync(join(modules, "graphiql/graphiql.min.js.map"), "utf8"));

// The packages of GraphiQL's own repository stand in the map without a scope, and share one licence.
const OWN = { "graphiql-toolkit": "@graphiql/toolkit", "graphiql-react": "@graphiql/react",
  "graphiql-plugin-history": "@graphiql/plugin-history", "graphiql-plugin-doc-explorer": "@graphiql/plugin-doc-explorer" };

function packageOf(source) {
  const [, foreign] = source.match(/.*node_modules\/((?:@[^/]+\/)?[^/]+)/) ?? [];
  if (foreign) return foreign;
  const [, own] = source.match(/^\.\.\/\.\.\/([^/]+)\//) ?? [];
  return own ? (OWN[own] ?? own) : "graphiql";
}

function licenceOf(name) {
  const folder = join(modules, name);
  if (!existsSync(folder)) throw new Error(`${name} is in the bundle and not installed`);
  const files = readdirSync(folder).filter((file) => /^(licen[cs]e|notice|copyrightnotice|thirdpartynotices)/i.test(file)).sort();
  const { license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const text = files.map((file) => readFileSync(join(folder, file), "utf8").replace(/[ \t\r]+$/gm, "").trim()).join("\n\n");
  return { license, text: text || `(The package says "${license}" and has no text of it.)` };
}

const names = new Set(["graphiql", "react", "react-dom", ...sources.map(packageOf)]);
const texts = new Map();
for (const name of [...names].sort()) {
  const { license, text } = licenceOf(name);
  const entry = texts.get(text) ?? { license, names: [] };
  entry.names.push(name);
  texts.set(text, entry);
}
for (const [text, { license, names }] of texts) {
  console.log(`${"=".repeat(100)}\n${names.join(", ")}: ${license}\n${"=".repeat(100)}\n\n${text}\n`);
}
