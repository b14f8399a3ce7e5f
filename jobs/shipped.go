package jobs

import (
	"embed"
	"io/fs"
)

//go:embed *.yaml data/nobroker/*.jsonl
var shipped embed.FS

// Shipped has the jobs that come with lake, and the sample that they read.
func Shipped() fs.FS { return shipped }
