"""The console: a web page beside the node, fed by its topics or by a replay. docs/console.md says how it is used."""
