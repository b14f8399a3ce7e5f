package main

import (
	"bytes"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"lake/ingest/files"
	"lake/ingest/generate"
	"lake/ingest/kafka"
	"lake/jobs"
	"lake/load/bigquery"
	"lake/load/duckdb"
	outfiles "lake/load/files"
	"lake/load/hive"
	outkafka "lake/load/kafka"
	"lake/storage/gs"
	"lake/storage/hdfs"
	"lake/storage/s3"
)

// TestJobFile: the page is a job that lint takes, so is each other way that it names,
// and it has every key that there is.
func TestJobFile(t *testing.T) {
	for _, name := range []string{"LAKE_CATALOG", "KAFKA_PASSWORD", "HIVE_PASSWORD"} {
		t.Setenv(name, "postgres://lake@catalog/lake")
	}
	var page bytes.Buffer
	require.Zero(t, run(t.Context(), []string{"help", "job-file"}, nil, &page, &page))
	requireLints(t, "the page", page.Bytes())

	var job map[string]yaml.Node
	require.NoError(t, yaml.Unmarshal(page.Bytes(), &job))
	others := regexp.MustCompile(`(?m)^# [a-z]+:(?:.*\n(?:#   .*\n)*)`).FindAllString(page.String(), -1)
	require.Len(t, others, 5, others)
	for _, other := range others {
		var part map[string]yaml.Node
		require.NoError(t, yaml.Unmarshal([]byte(regexp.MustCompile(`(?m)^# `).ReplaceAllString(other, "")), &part), other)
		requireLints(t, other, overlaid(t, job, part))
	}

	keys := map[string]bool{}
	for _, each := range []any{jobs.Job{}, files.Config{}, generate.Config{}, kafka.Config{}, outfiles.Config{}, outkafka.Output{},
		bigquery.Config{}, duckdb.Config{}, hive.Config{}, gs.Config{}, hdfs.Config{}, s3.Config{}, sqliteCatalog{}, hiveCatalog{}} {
		keysOf(reflect.TypeOf(each), keys)
	}
	require.Greater(t, len(keys), 80)
	for key := range keys {
		require.Regexp(t, `(?m)(^|[ {#])`+key+`: `+`|(^|[ {])`+key+`:$`, page.String())
	}
}

// keysOf adds the keys that YAML has for a struct, and for those within it.
func keysOf(of reflect.Type, keys map[string]bool) {
	for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct {
		return
	}
	for i := range of.NumField() {
		field := of.Field(i)
		tag, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if tag == "-" || !field.IsExported() {
			continue
		}
		if tag != "" {
			keys[tag] = true
		}
		if tag != "" || field.Anonymous {
			keysOf(field.Type, keys)
		}
	}
}
