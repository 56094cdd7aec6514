#!/usr/bin/env bash
# Fetches GraphiQL and React from npm and makes the files beside this script. Needs node, npm and the network.
# What it prints at the end are the values of `integrity` in page.html.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

graphiql=4.1.2
react=18.3.1

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# All that the bundle was made of comes along for its licences. What the last line names is in it, and nobody's dependency
# any more.
npm install --prefix "$work" --silent --ignore-scripts --no-audit --no-fund \
  "graphiql@$graphiql" "react@$react" "react-dom@$react" graphql@16 \
  graphql-ws@5 @radix-ui/react-use-escape-keydown @react-aria/interactions @react-aria/utils
modules=$work/node_modules

node licences.mjs "$modules" >"$work/LICENSES"
mv "$work/LICENSES" LICENSES
cp "$modules/react/umd/react.production.min.js" "$work/react.js"
cp "$modules/react-dom/umd/react-dom.production.min.js" "$work/react-dom.js"
cp "$modules/graphiql/graphiql.min.js" "$work/graphiql.js"
# Without the fonts: nearly all of the file, under licences of their own. The browser's own are used instead.
node -e '
  const [from, to] = process.argv.slice(1), fs = require("fs");
  fs.writeFileSync(to, fs.readFileSync(from, "utf8").replace(/@font-face\s*\{[^}]*\}\s*/g, ""));
' "$modules/graphiql/graphiql.min.css" "$work/graphiql.css"

for name in react.js react-dom.js graphiql.js graphiql.css; do
  gzip -9n <"$work/$name" >"$name.gz"
  echo "$name sha256-$(openssl dgst -sha256 -binary "$work/$name" | base64)"
done
