package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"lake/bench/figures"
)

// part is what makes its lines by itself.
type part struct {
	name string
	run  func(context.Context) error
}

// parts come after the works. One that is a command prints its lines as JSON.
func (b *bench) parts() []part {
	kafka := []string{"run", "./bench/kafka", "rate", "-json", "-lake", b.lake, "-check", b.python, "-pairs", fmt.Sprint(b.pairs), "-records", fmt.Sprint(int64(3_000_000 * b.scale))}
	if b.spark != "" {
		kafka = append(kafka, "-python", b.spark, "-jars", b.jars, "-flink", filepath.Join(filepath.Dir(filepath.Dir(b.spark)), "flink"))
	}
	common := []string{"-json", "-data", b.data, "-pairs", fmt.Sprint(b.pairs)}
	memory := append([]string{"run", "./bench/memory", "-lake", b.lake, "-python", b.python, "-rows", fmt.Sprint(int64(5_000_000 * b.scale))}, common...)
	parts := []part{
		{"JSON decode, one core, against arrow-go", func(ctx context.Context) error {
			// It takes the first lines of the inputs of full size.
			if _, err := b.generated(ctx, "flat", "bench/flat.yaml", 5_000_000); err != nil {
				return err
			}
			if _, err := b.generated(ctx, "nested", "clicks", 500_000); err != nil {
				return err
			}
			return b.command(ctx, "go", append([]string{"run", "./bench/decode"}, common...)...)
		}},
		{"count by key and by minute, Arrow in memory, against DuckDB", func(ctx context.Context) error { return b.command(ctx, "go", memory...) }},
		{"Kafka → committed table, bare loop, Flink, Spark", func(ctx context.Context) error { return b.command(ctx, "go", kafka...) }},
	}
	for _, a := range b.axes() {
		parts = append(parts, part{"growth: " + a.name, func(ctx context.Context) error { return b.grow(ctx, a) }})
	}
	return append(parts, part{"start-up", b.startUp})
}

// command runs a part that is a command of its own.
func (b *bench) command(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	// All that it started is told: it ends its servers, and go run passes nothing on.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	return errors.Join(figures.Read(out, b.line), cmd.Wait())
}
