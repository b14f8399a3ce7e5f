package publish

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"time"

	"lake/table"
)

// ManifestVersion is the version that this package writes.
const ManifestVersion = 1

// The files of a folder beside the data. Engines do not read names that begin with _.
const (
	ownerName    = "_LAKE.json"     // whose folder it is; there before anything else
	manifestName = "_MANIFEST.json" // what is in it
	successName  = "_SUCCESS"       // written last: what the manifest names is there, and nothing else
)

// Manifest describes one date's publication.
type Manifest struct {
	Version   int       `json:"version"`
	ID        string    `json:"id"` // of this publication; _SUCCESS has it, too
	Pipeline  string    `json:"pipeline"`
	Table     string    `json:"table"`
	Date      string    `json:"date"`
	Snapshot  int64     `json:"snapshot"` // of the table
	Published time.Time `json:"published"`
	Format    Format    `json:"format"`
	Class     string    `json:"storage_class,omitempty"` // of the data; "": the bucket's own
	Columns   []Column  `json:"columns"`                 // of the files, in their order
	Rows      int64     `json:"rows"`
	Bytes     int64     `json:"bytes"`
	Files     []File    `json:"files"`
	Content   string    `json:"content"`    // the same one means: the same rows in the same form
	DataFiles []string  `json:"data_files"` // the table's files of the date, in that snapshot
}

// Column is a column of the files, its type as a job file has it.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// File is a file of the folder.
type File struct {
	Name   string `json:"name"`
	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // of its bytes, in hex
}

// owner says whose folder it is: what another one published is not touched.
type owner struct {
	Version  int    `json:"version"`
	Pipeline string `json:"pipeline"`
	Table    string `json:"table"`
	Date     string `json:"date"`
}

// dataName is the form of the names of data files: their number and the
// publication's id.
var dataName = regexp.MustCompile(`^part-[0-9]{5,}-[0-9a-f]{16}\.(parquet|csv|jsonl)$`)

// decode reads a manifest or an owner's mark; what is broken, or of a newer
// version, is an error.
func decode[T any](data []byte, into *T, version func(*T) int) error {
	if err := json.Unmarshal(data, into); err != nil {
		return err
	}
	if v := version(into); v != ManifestVersion {
		return fmt.Errorf("it is of version %d, this lake knows version %d", v, ManifestVersion)
	}
	return nil
}

func encode[T any](v T) ([]byte, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	return append(data, '\n'), err
}

// content names the rows of files, which never change once they are there, and
// the form in which they are published.
func content(files []table.File, columns []Column, o Options) string {
	h := sha256.New()
	say := func(parts ...string) {
		for _, p := range parts {
			fmt.Fprintf(h, "%d:%s", len(p), p)
		}
		fmt.Fprint(h, ";")
	}
	say("v1", string(o.Format), o.Class, o.Zone.String(), fmt.Sprint(o.TargetBytes))
	for _, c := range columns {
		say(c.Name, c.Type)
	}
	for _, f := range sorted(files) {
		say(append([]string{f.Path}, f.DeletedBy()...)...)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func sorted(files []table.File) []table.File {
	return slices.SortedFunc(slices.Values(files), func(a, b table.File) int {
		switch {
		case a.Path < b.Path:
			return -1
		case a.Path > b.Path:
			return 1
		}
		return 0
	})
}
