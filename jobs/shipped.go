package jobs

import (
	"embed"
	"io/fs"
)

//go:embed nobroker.yaml nobroker.test.yaml nobroker-kafka.yaml clicks.yaml data/nobroker/*.jsonl
var shipped embed.FS

//go:embed reference.yaml
var reference string

// Shipped has the jobs that come with lake, and the sample that they read.
func Shipped() fs.FS { return shipped }

// Reference is a job file that says all that one may, with what it means.
func Reference() string { return reference }
