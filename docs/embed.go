// Package docs embeds the documentation for tests.
package docs

import "embed"

// Pages are the Markdown files of this directory.
//
//go:embed *.md
var Pages embed.FS
