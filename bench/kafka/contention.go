package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/uuid"

	"lake/schemas"
	"lake/services"
	"lake/table"
)

// contention counts the commits, each with one file of 1,000 rows, that several
// processes make on one table: what the race on the head costs.
func contention(ctx context.Context, o *options) (err error) {
	server, err := services.StartPostgres(ctx, services.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	fmt.Printf("| processes | SQLite commits/s | PostgreSQL commits/s |\n|--:|--:|--:|\n")
	for _, processes := range []int{1, 2, 4, 8} {
		local, err := o.contend(ctx, processes, table.CatalogConfig{Warehouse: filepath.Join(o.work, fmt.Sprint("local-", processes))})
		if err != nil {
			return err
		}
		database, err := server.CreateDatabase(ctx, fmt.Sprint("contended", processes))
		if err != nil {
			return err
		}
		remote, err := o.contend(ctx, processes, table.CatalogConfig{Warehouse: filepath.Join(o.work, fmt.Sprint("remote-", processes)), Postgres: database})
		if err != nil {
			return err
		}
		fmt.Printf("| %d | %.1f | %.1f |\n", processes, local, remote)
	}
	return nil
}

func (o *options) contend(ctx context.Context, processes int, config table.CatalogConfig) (float64, error) {
	catalog, err := table.OpenCatalog(ctx, config)
	if err != nil {
		return 0, err
	}
	kind := func(name string) schemas.Field {
		return schemas.Field{Name: name, Type: schemas.Type{Kind: schemas.Int64}, Required: true}
	}
	_, err = catalog.Create(ctx, "bench.contended", table.Definition{Schema: schemas.Schema{Fields: []schemas.Field{kind("n")}}})
	if err := errors.Join(err, catalog.Close()); err != nil {
		return 0, err
	}
	running := make([]*exec.Cmd, processes)
	said := make([]strings.Builder, processes)
	for i := range running {
		running[i] = exec.CommandContext(ctx, o.self, "commit", config.Warehouse, config.Postgres, fmt.Sprint("e/", i), o.duration.String())
		running[i].Stdout = &said[i]
		if err := running[i].Start(); err != nil {
			return 0, err
		}
	}
	commits := 0
	for i, cmd := range running {
		if err := cmd.Wait(); err != nil {
			return 0, err
		}
		n := 0
		if _, err := fmt.Sscan(said[i].String(), &n); err != nil {
			return 0, err
		}
		commits += n
	}
	return float64(commits) / o.duration.Seconds(), nil
}

// commitLoop is one process of contention: commit WAREHOUSE POSTGRES SHARD DURATION. It
// prints how many commits it made.
func commitLoop(ctx context.Context, args []string) (err error) {
	if len(args) != 4 {
		return errors.New("usage: commit WAREHOUSE POSTGRES SHARD DURATION")
	}
	duration, err := time.ParseDuration(args[3])
	if err != nil {
		return err
	}
	catalog, err := table.OpenCatalog(ctx, table.CatalogConfig{Warehouse: args[0], Postgres: args[1]})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, catalog.Close()) }()
	t, err := catalog.Load(ctx, "bench.contended")
	if err != nil {
		return err
	}
	rows := array.NewRecordBuilder(memory.DefaultAllocator, t.Schema().Arrow())
	defer rows.Release()
	for n := range int64(1000) {
		rows.Field(0).(*array.Int64Builder).Append(n)
	}
	batch := rows.NewRecordBatch()
	defer batch.Release()
	w, err := t.NewWriter(table.WriterOptions{Mem: memory.DefaultAllocator, MemoryBytes: 64 << 20, Name: uuid.NewString()})
	if err != nil {
		return err
	}
	base := table.Record{}
	commits := 0
	for started := time.Now(); time.Since(started) < duration; commits++ {
		if err := w.Write(ctx, batch); err != nil {
			return err
		}
		files, err := w.Flush(ctx)
		if err != nil {
			return err
		}
		next := base
		next.Pipeline, next.Shard, next.Epoch, next.Seq, next.CommitID = "bench", args[2], 1, base.Seq+1, uuid.NewString()
		after, err := t.Commit(ctx, table.Commit{Steps: []table.Step{{Record: next, Base: base}}, Files: files})
		if err != nil {
			return err
		}
		base = after[0]
	}
	fmt.Println(commits)
	return nil
}
